"""predict: masks of any photos, by a run's segmentation network or by one model file. No labels, no data set."""

from __future__ import annotations

import glob
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from .data.images import exif_orientation, open_picture, read_image
from .data.label_table import PHOTO_SUFFIXES
from .data.overlays import mask_overlay
from .data.stores import CONFIDENCE, MaskStore, write_confidence
from .data.strips import Pixels
from .engine import checkpoint, processes
from .engine.each import Work, each, share
from .errors import CheckpointError, DataError, RecipeError
from .hub_folder import is_hub_folder, read_hub_folder
from .recipe.evaluating import EvalSettings
from .settings import RuntimeSettings
from .stages.per_image import device_and_workers
from .stages.pictures import write_picture
from .stages.plugins import network_stage, predictor_from, trained
from .stages.windows import mask_and_confidence
from .status import open_existing
from .types import ByteArray, FloatArray, Json

LONGEST = 1024
"""Photos larger than this are scaled down for the network: it learnt from smaller ones, and memory is limited."""


@dataclass(frozen=True)
class Model:
    """A network on disk and how its run looks at photos.

    Attributes:
        file: the model file.
        section: test-time views and CRF.
        runtime: device and workers.
    """

    file: Path
    section: EvalSettings = field(default_factory=EvalSettings)
    runtime: RuntimeSettings = field(default_factory=RuntimeSettings)


def model_at(place: Path) -> Model:
    """Return the network of a run, looking at photos as its `eval` does, or that of a single file: one view, no CRF.

    A folder that `wsseg export hub` wrote looks at photos as its run did.

    Raises:
        CheckpointError: there is nothing, or a run without a trained segmentation network.
    """
    if not place.is_dir():
        if not place.exists():
            raise CheckpointError(f"--model {place}: no such run or file")
        return Model(place)
    if not (place / "recipe.yaml").is_file():
        if is_hub_folder(place):
            return Model(place / checkpoint.MODEL, read_hub_folder(place))
        raise CheckpointError(f"--model {place}: not a run: it has no recipe.yaml; give a run or a .safetensors file")
    recipe = open_existing(place).recipe.recipe
    stage = network_stage(recipe)
    file = place / stage / checkpoint.MODEL
    if not file.is_file():
        raise CheckpointError(f"--model {place}: no {file.relative_to(place)} yet; run `wsseg {stage}` first")
    return Model(file, recipe.eval, recipe.runtime)


def photos_at(places: Sequence[str], out: Path) -> dict[str, Path]:
    """Return the photos that files, folders and patterns name: {name: path}, names unique, without suffix.

    Within a folder, a photo's name is its path below the folder; `out` and hidden files are skipped.

    Raises:
        DataError: a folder holds no photo, or a pattern matches none.
    """
    found: dict[Path, str] = {}
    for place in places:
        path = Path(place)
        if path.is_dir():
            inside = sorted(_photos_in(path, out))
            if not inside:
                raise DataError(f"{path}: holds no photos ({', '.join(PHOTO_SUFFIXES)})")
            for photo in inside:
                found.setdefault(photo, photo.relative_to(path).with_suffix("").as_posix())
        elif not path.exists() and glob.has_magic(place):
            matched = sorted(Path(match) for match in glob.glob(place, recursive=True))
            matched = [match for match in matched if match.is_file()]
            if not matched:
                raise DataError(f"{place}: no file matches")
            for photo in matched:
                found.setdefault(photo, photo.stem)
        else:
            found.setdefault(path, path.stem)
    return _unique(found)


def _photos_in(folder: Path, out: Path) -> Iterator[Path]:
    skipped = out.resolve() if out.resolve() != folder.resolve() else None
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or skipped in path.resolve().parents or path.suffix.lower() not in PHOTO_SUFFIXES:
            continue
        if path.is_file():
            yield path


def _unique(found: Mapping[Path, str]) -> dict[str, Path]:
    """Return {name: path}; photos that share a name keep their suffix, or else their whole path."""
    names = dict(found)
    for longer in (lambda path: path.name, lambda path: path.as_posix()):
        listed = list(names.values())
        names = {path: longer(path) if listed.count(name) > 1 else name for path, name in names.items()}
    return {name: path for path, name in names.items()}


def predict(
    photos: Mapping[str, Path],
    model: Model,
    out: Path,
    *,
    overlay: bool = False,
    scores: bool = False,
    longest: int | None = None,
    quiet: bool = False,
) -> tuple[list[Json], list[tuple[str, str]]]:
    """Write the mask of each photo as `out`/NAME.png, a palette PNG as large as the photo; return what was found.

    overlay: also write `out`/overlays/NAME.png. scores: also write `out`/confidence/NAME.png, grey: 0 to 255 for a
    probability of 0 to 1 of each pixel's class. longest: larger photos are scaled down to it for the network, by
    default to what the model's own `infer.longest` says, or to `LONGEST` without windows.
    Returns a record of each photo (image, mask, size, areas as shares of its pixels) and (name, reason) of the others.

    Raises:
        CheckpointError, PluginError: the model cannot be used. RecipeError: a photo would be overwritten.
    """
    store = MaskStore(out)
    originals = {path.resolve() for path in photos.values()}
    for name in photos:
        for target in (store.path(name), *(MaskStore(out / inner).path(name) for inner in ("overlays", CONFIDENCE))):
            if target.resolve() in originals:
                raise RecipeError(f"--out {out}: {target} is one of the photos; choose another folder")
    predictor_from(model.file)
    infer = model.section.infer
    device, workers = device_and_workers(model.runtime, precision=infer.precision)
    side = longest or infer.longest or (LONGEST if infer.tile is None else None)
    arguments = (model, dict(photos), out, overlay, scores, side, device)
    done = each(share(list(photos)), _predictor, arguments, workers=workers, label="predict", quiet=quiet)
    records = {record["name"]: record for record in processes.gather_objects(list(done.results.values()))}
    failures = processes.gather_objects(list(done.failures.items()))
    return [records[name] for name in photos if name in records], failures


def _predictor(
    model: Model,
    photos: Mapping[str, Path],
    out: Path,
    overlay: bool,
    scores: bool,
    longest: int | None,
    device: str,
) -> Work:
    """Return the function that writes the mask of one photo."""
    predictor = predictor_from(model.file)
    network = trained(predictor, model.file, device, fast=True)
    names = predictor.classes.with_background

    def work(name: str) -> Json:
        pixels = Pixels(photos[name])
        mask, seen_at, sure = mask_and_confidence(
            predictor, network, model.section, pixels, longest, device, confidence=scores
        )
        MaskStore(out).write(name, mask)
        record = {"name": name, "image": str(photos[name]), "mask": str(MaskStore(out).path(name))}
        if sure is not None:
            write_confidence(out / CONFIDENCE, name, sure)
            record["confidence"] = str(MaskStore(out / CONFIDENCE).path(name))
        if overlay:
            picture = MaskStore(out / "overlays").path(name)
            write_picture(picture, mask_overlay(pixels.whole(), mask))
            record["overlay"] = str(picture)
        shares = _shares(mask)
        areas = {names[value]: round(float(shares[value]), 6) for value in np.flatnonzero(shares)}
        return {**record, "size": list(mask.shape), "seen_at": list(seen_at), "areas": areas}

    return work


def _shares(mask: ByteArray) -> FloatArray:
    """Return the share of each value in a mask; counted in parts, since counting takes eight bytes per pixel."""
    counts = sum(np.bincount(mask[top : top + 512].ravel(), minlength=256) for top in range(0, len(mask), 512))
    return np.asarray(counts / mask.size)


def read_upright(path: Path) -> ByteArray:
    """Return the photo at `path` as (H, W, 3) uint8 RGB, turned as its EXIF orientation says.

    Raises:
        DataError: it is not a photo that can be used.
    """
    with open_picture(path) as picture:
        orientation = exif_orientation(picture)
    return read_image(path, orientation)
