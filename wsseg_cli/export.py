"""export: a segmentation network as ONNX, verified against torch; a split's masks as VOC's test server expects them."""

from __future__ import annotations

import gzip
import importlib.util
import logging
import os
import shutil
import tarfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from .data.files import write_atomically
from .data.index import read_index
from .data.stores import MaskStore, checked_mask
from .errors import CheckFailed, DataError, RecipeError, StageError
from .run.directory import RunDir
from .stages.plugins import predictor_from, trained
from .types import IGNORE, Normalization

SIZES = ((2, 65, 97), (1, 96, 64))
"""(batch, height, width) at which an exported network is compared with torch."""

TOLERANCE = 1e-4
"""Largest accepted difference of scores from torch, in units of the largest score if that is above 1."""

EXTRA = ("onnx", "onnxscript", "onnxruntime")


class FromPixels(nn.Module):
    """A network that takes raw pixels: it includes the normalisation."""

    mean: Tensor
    std: Tensor

    def __init__(self, network: nn.Module, normalization: Normalization) -> None:
        super().__init__()
        self.network = network
        self.reverse = normalization.order == "BGR"
        self.scale = normalization.scale
        self.register_buffer("mean", torch.tensor(normalization.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(normalization.std).view(1, 3, 1, 1))

    def forward(self, pixels: Tensor) -> Tensor:
        """Return class scores (N, 1+C, H, W) of RGB pixels (N, 3, H, W), 0..255."""
        pixels = pixels.flip(1) if self.reverse else pixels
        return self.network((pixels / self.scale - self.mean) / self.std)


@dataclass(frozen=True)
class Verified:
    """An ONNX file and its largest difference from torch, by (batch, height, width)."""

    path: Path
    bytes: int
    differences: dict[tuple[int, int, int], float]


def export_onnx(model_file: Path, path: Path) -> Verified:
    """Write the network as ONNX with any batch and any size: `pixels` (N, 3, H, W) to `scores` (N, 1+C, H, W).

    pixels: float32 RGB, 0..255, not normalised. The class names are in the file's metadata, "classes", one per line.

    Raises:
        RecipeError: the extra is not installed. CheckFailed: ONNX and torch do not agree; nothing is written then.
    """
    absent = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if absent:
        raise RecipeError(f"export onnx needs {', '.join(absent)}; pip install 'wsseg[onnx]'")
    import onnx

    predictor = predictor_from(model_file)
    network = FromPixels(predictor.network(trained(predictor, model_file, "cpu")), predictor.normalization).eval()
    shapes = {"pixels": {0: torch.export.Dim("batch"), 2: torch.export.Dim("height"), 3: torch.export.Dim("width")}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program: Any = torch.onnx.export(
            network,
            (torch.zeros(2, 3, 97, 129),),
            dynamo=True,
            input_names=["pixels"],
            output_names=["scores"],
            dynamic_shapes=shapes,
            verbose=False,
        )
    model = program.model_proto
    for key, value in (("classes", "\n".join(predictor.classes.with_background)), ("source", str(model_file))):
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value
    found: dict[tuple[int, int, int], float] = {}

    def write(temporary: Path) -> None:
        onnx.save_model(model, str(temporary))
        found.update(differences(temporary, network))
        worst = max(found, key=lambda shape: found[shape])
        if not found[worst] <= TOLERANCE:
            raise CheckFailed(f"ONNX and torch differ by {found[worst]:.1e} at {worst}; expected at most {TOLERANCE}")

    write_atomically(path, write)
    return Verified(path, path.stat().st_size, found)


def differences(path: Path, network: nn.Module) -> dict[tuple[int, int, int], float]:
    """Return the largest difference between an ONNX file and the torch network at each of `SIZES`.

    In units of the largest score if that is above 1.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    found = {}
    for batch, height, width in SIZES:
        pixels = rng.integers(0, 256, (batch, 3, height, width)).astype(np.float32)
        with torch.inference_mode():
            want = network(torch.from_numpy(pixels)).numpy()
        got: Any = session.run(None, {"pixels": pixels})[0]
        if got.shape != want.shape:
            raise CheckFailed(f"ONNX gives scores of shape {got.shape}, torch {want.shape}")
        found[batch, height, width] = float(np.abs(got - want).max() / max(1.0, float(np.abs(want).max())))
    return found


def voc_server(run: RunDir, split: str, out: Path, competition: str = "comp6") -> tuple[Path, int]:
    """Write the network's masks of a split as VOC's test server takes them; return the archive and its image count.

    `out`/results/VOC2012/Segmentation/COMPETITION_SPLIT_cls/ID.png and `out`/results.tar.gz, which is uploaded.

    Raises:
        StageError: masks of the split are missing or outdated. DataError: the server would refuse a mask.
    """
    run.require("train-seg")
    index = read_index(run.folder("prepare"))
    ids = [sample.image_id for sample in index.samples(split)]
    store = MaskStore(run.folder("eval") / f"seg-{split}")
    missing = store.missing(ids)
    changed = run.changes("eval")
    if missing or changed:
        why = (
            f"{len(missing)} of {len(ids)} masks are not there" if missing else f"made otherwise: {'; '.join(changed)}"
        )
        raise StageError(f"split {split!r}: {why}; `wsseg eval --what seg --split {split}` with the run's recipe first")
    _refuse([image_id for image_id in ids if "/" in image_id], "ids with a slash, the server wants flat names")
    for image_id in ids:
        mask = checked_mask(store.path(image_id), index.classes, index.size(image_id))
        _refuse([image_id] if (mask == IGNORE).any() else [], f"pixels of value {IGNORE}, the server refuses them")
    inside = Path("results") / "VOC2012" / "Segmentation" / f"{competition}_{split}_cls"
    folder = out / inside
    shutil.rmtree(folder, ignore_errors=True)
    try:
        folder.mkdir(parents=True)
        for image_id in ids:
            shutil.copyfile(store.path(image_id), folder / f"{image_id}.png")
    except OSError as error:
        raise DataError(f"cannot write {folder}: {error.strerror or error}") from error
    archive = out / "results.tar.gz"
    write_atomically(archive, lambda to: _pack(to, out, inside, ids))
    _check_archive(archive, inside, ids)
    return archive, len(ids)


def _refuse(ids: Sequence[str], why: str) -> None:
    if ids:
        raise DataError(f"{why}: {len(ids)} such as {ids[0]!r}")


def _pack(to: Path, out: Path, inside: Path, ids: Sequence[str]) -> None:
    """Write the archive reproducibly: the same bytes, whenever and by whomever it is made."""
    with (
        open(to, "wb") as raw,
        gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.USTAR_FORMAT) as tar,
    ):
        for image_id in sorted(ids):
            name = (inside / f"{image_id}.png").as_posix()
            entry = tarfile.TarInfo(name)
            entry.size = os.path.getsize(out / name)
            entry.mode = 0o644
            with open(out / name, "rb") as file:
                tar.addfile(entry, file)


def _check_archive(archive: Path, inside: Path, ids: Sequence[str]) -> None:
    with tarfile.open(archive, "r:gz") as tar:
        names = {member.name for member in tar.getmembers()}
    wanted = {(inside / f"{image_id}.png").as_posix() for image_id in ids}
    if names != wanted:
        raise DataError(f"{archive}: {len(names)} files, expected {len(wanted)}")
