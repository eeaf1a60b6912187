"""Test-time inference of a segmentation network beside one view at a time and a straightforward script, in one run.

Network part: the forward passes of four scales and horizontal flips of each photo. Whole: decode, views, forward,
merge, PNG; ours with the functions of `wsseg predict`, beside a straightforward script, which keeps a full-size map of
every view and stacks them. Both use the same weights, the same views and one thread; runs alternate. Commands: both as
processes of their own, start-up included, on as many cores as there are.

python benchmarks/inference.py photos/ --model runs/cam_voc_lite/train-seg/model.safetensors
python benchmarks/inference.py photos/ --random efficientnet_lite0   # a network with random weights
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from wsseg_cli.data.palette import palette_bytes
from wsseg_cli.data.stores import MaskStore
from wsseg_cli.engine import checkpoint
from wsseg_cli.ops.views import forward_views, view_batches
from wsseg_cli.plugin import discovery
from wsseg_cli.plugin.protocols import Predictor, Segmenter
from wsseg_cli.predict import photos_at, read_upright
from wsseg_cli.settings import InferSettings
from wsseg_cli.stages.plugins import predictor_from, trained
from wsseg_cli.types import ByteArray, ClassNames

VIEWS = InferSettings(scales=(0.5, 0.75, 1.0, 1.5), flip=True)


def write_random(backbone: str, classes: int, path: Path) -> Path:
    """Write a DeepLab v2 whose weights are random as `train-seg` writes a trained one."""
    cls = discovery.load("segmenters", "deeplabv2")
    names = ClassNames(f"class {number}" for number in range(classes))
    options = cls.Options.model_validate({"backbone": backbone, "form": "v2_small"})
    segmenter: Segmenter = cls(options, names)  # type: ignore[assignment, arg-type, call-arg]
    torch.manual_seed(0)
    header = {
        "kind": "segmenters",
        "name": "deeplabv2",
        "options": options.model_dump(mode="json"),
        "classes": list(names),
        "normalization": asdict(segmenter.normalization),
    }
    checkpoint.write_model(path, segmenter.build_model(), header)
    return path


def forward_one_by_one(model: nn.Module, batches: list[Tensor]) -> list[Tensor]:
    return [model(batch[i : i + 1]) for batch in batches for i in range(len(batch))]


def straightforward(segmenter: Predictor[Any, Any], model: nn.Module, path: Path, target: Path) -> None:
    """Write the mask of one photo as the published scripts do: all views at full size, stacked, then their mean."""
    image = np.asarray(Image.open(path).convert("RGB"))
    size = image.shape[:2]
    maps = []
    for batch in view_batches(image, VIEWS, segmenter.normalization, "opencv_cubic"):
        for number in range(len(batch)):
            logits = model(batch[number : number + 1])
            full = F.interpolate(logits, size, mode="bilinear", align_corners=bool(model.align_corners))[0]
            maps.append((full.flip(-1) if number else full).numpy())
    probabilities = torch.softmax(torch.from_numpy(np.stack(maps).mean(0)), 0).numpy()
    picture = Image.fromarray(probabilities.argmax(0).astype(np.uint8))
    picture.putpalette(palette_bytes())
    picture.save(target)


def ours(segmenter: Predictor[Any, Any], model: nn.Module, path: Path, target: Path) -> None:
    image: ByteArray = read_upright(path)
    mask = segmenter.logits(model, image, VIEWS).argmax(axis=0).astype(np.uint8)
    MaskStore(target.parent).write(target.stem, mask)


def timed(ways: dict[str, Callable[[], object]], runs: int, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Return the seconds of each way; the runs of all ways alternate, the order turns round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(runs):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            start = clock()
            ways[name]()
            seconds[name].append(clock() - start)
    return seconds


def told(title: str, seconds: dict[str, list[float]], count: int) -> None:
    first, second = seconds
    print(title)
    for name, values in seconds.items():
        each = ", ".join(f"{value / count:.3f}" for value in values)
        print(f"  {name:<22} {median(values) / count:.3f} s a photo ({each})")
    print(f"  {second} / {first}: {median(seconds[second]) / median(seconds[first]):.2f}", flush=True)


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def script(file: Path, paths: Sequence[Path], out: Path) -> None:
    """Be the straightforward script: torch as it comes, with all cores."""
    segmenter = predictor_from(file)
    model = trained(segmenter, file, "cpu")
    for path in paths:
        straightforward(segmenter, model, path, out / f"{path.stem}.png")


def commands(file: Path, paths: Sequence[Path], runs: int, clock: Callable[[], float]) -> None:
    free = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as theirs:
        photos = list(map(str, paths))
        scales = ",".join(map(str, VIEWS.scales))
        predict = ["-m", "wsseg_cli", "predict", *photos, "--model", str(file), "--out", made, "--quiet"]
        words = {
            "wsseg predict": [*predict, "--scales", scales, "--flip"],
            "straightforward": [__file__, *photos, "--model", str(file), "--script", theirs],
        }
        ways: dict[str, Callable[[], object]] = {
            name: lambda line=line: subprocess.run(  # type: ignore[misc]
                [sys.executable, *line], env=free, check=True, stdout=subprocess.DEVNULL
            )
            for name, line in words.items()
        }
        kind = "clock" if clock is time.perf_counter else "processor time of all cores"
        told(f"commands, start-up included, {len(paths)} photos, {kind}", timed(ways, runs, clock), len(paths))
        print(f"  equal labels: {equal(paths, Path(made), Path(theirs)):.4f} % of the pixels", flush=True)


def equal(paths: Sequence[Path], made: Path, theirs: Path) -> float:
    """Return the share of pixels with the same label in both folders, in per cent."""
    same = [
        np.asarray(Image.open(made / f"{p.stem}.png")) == np.asarray(Image.open(theirs / f"{p.stem}.png"))
        for p in paths
    ]
    return 100 * float(np.mean([np.mean(pixels) for pixels in same]))


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--random", default="efficientnet_lite0", metavar="BACKBONE")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--count", type=int, default=6, help="photos of the first two parts")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--commands", type=int, default=24, metavar="COUNT", help="photos of the commands; 0: leave out"
    )
    parser.add_argument("--clock", action="store_true", help="commands by the clock: for a machine that is idle else")
    parser.add_argument("--script", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    options = parser.parse_args()
    found = list(photos_at(options.photos, Path("predictions")).values())
    if options.script:
        script(options.model, found, options.script)
        return
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        file = options.model or write_random(options.random, options.classes, Path(folder) / "model.safetensors")
        parts(file, found[: options.count], options.runs)
        if options.commands:
            commands(file, found[: options.commands], options.runs, time.perf_counter if options.clock else children)


def parts(file: Path, paths: Sequence[Path], runs: int) -> None:
    segmenter = predictor_from(file)
    model, fast = trained(segmenter, file, "cpu"), trained(segmenter, file, "cpu", fast=True)
    batches = [list(view_batches(read_upright(p), VIEWS, segmenter.normalization, "opencv_cubic")) for p in paths]
    network: dict[str, Callable[[], object]] = {
        "ours": lambda: [[forward_views(fast, batch) for batch in b] for b in batches],
        "one view at a time": lambda: [forward_one_by_one(model, b) for b in batches],
    }
    timed(network, 1, time.process_time)
    told("network part", timed(network, runs, time.process_time), len(paths))
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as theirs:

        def each(way: Callable[..., None], network: nn.Module, folder: str) -> None:
            for path in paths:
                way(segmenter, network, path, Path(folder) / f"{path.stem}.png")

        whole: dict[str, Callable[[], object]] = {
            "ours": lambda: each(ours, fast, made),
            "straightforward": lambda: each(straightforward, model, theirs),
        }
        told("decode, views, network, merge, PNG", timed(whole, runs, time.process_time), len(paths))
        print(f"  equal labels: {equal(paths, Path(made), Path(theirs)):.4f} % of the pixels", flush=True)


if __name__ == "__main__":
    main()
