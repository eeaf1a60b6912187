"""Seconds and memory of one image by its size and the number of classes: score maps, dense CRF, segmentation network.

    python benchmarks/image_size.py                      # the table of docs/memory-and-speed.md
    python benchmarks/image_size.py --sizes 256 --classes 3 --runs 1

Networks are those of the recipe cam_folder with random weights, images are made up. Every cell is measured in a process
of its own: the median of the runs, and the most memory beyond what the network itself takes.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from wsseg_cli.recipe import loading as recipes
from wsseg_cli.types import ClassNames

SHOWN = 3  # classes on each image, whose labels are given


class Measured(NamedTuple):
    seconds: float
    megabytes: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024, 2048])
    parser.add_argument("--classes", type=int, nargs="+", default=[3, 20, 80])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    print(f"| pixels | classes | {' | '.join(f'{name}, s | MB' for name in WORK)} |")
    print("| ---: | ---: |" + " ---: |" * (2 * len(WORK)))
    context = multiprocessing.get_context("spawn")
    for size in given.sizes:
        for classes in given.classes:
            cells = []
            for name in WORK:
                with context.Pool(1) as pool:
                    found = pool.apply(measure, (name, size, classes, given.runs, given.device))
                cells.append(f"{found.seconds:.2f} | {found.megabytes:.0f}")
            print(f"| {size} x {size} | {classes} | {' | '.join(cells)} |", flush=True)


def measure(name: str, size: int, classes: int, runs: int, device: str) -> Measured:
    import torch

    torch.manual_seed(0)
    torch.set_num_threads(1)
    image = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    with torch.inference_mode():
        work = WORK[name](image, ClassNames([f"class {n}" for n in range(classes)]), device)
        WORK[name](image[:64, :64], ClassNames(["a", "b", "c"]), device)()  # compiles and loads what is needed
        before = _memory(device)
        seconds = []
        for _ in range(runs):
            begun = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - begun)
    return Measured(median(seconds), (_memory(device) - before) / 1e6)


def _memory(device: str) -> float:
    import torch

    if device.startswith("cuda"):
        torch.cuda.synchronize()
        return float(torch.cuda.max_memory_allocated())
    return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _plugin(stage: str, classes: ClassNames, device: str) -> tuple[Any, Any, Any]:
    os.environ.setdefault("PHOTOS", ".")
    recipe = recipes.load("cam_folder")
    cls, options = recipe.plugin(stage)
    plugin: Any = cls(options, classes)  # type: ignore[call-arg]
    return plugin, plugin.build_model().eval().to(device), recipe


def score_maps(image: np.ndarray, classes: ClassNames, device: str) -> Callable[[], object]:
    plugin, model, recipe = _plugin("train-cls", classes, device)
    return lambda: plugin.scores(model, image, tuple(range(SHOWN)), recipe.section("cam").infer)


def dense_crf(image: np.ndarray, classes: ClassNames, device: str) -> Callable[[], object]:
    from wsseg_cli.ops.crf import dense_crf as crf

    os.environ.setdefault("PHOTOS", ".")
    settings = recipes.load("cam_folder").section("pseudo").crf
    assert settings is not None
    scores = np.random.default_rng(0).random((1 + SHOWN, *image.shape[:2]), np.float32)
    scores /= scores.sum(axis=0)
    return lambda: crf(image, scores, settings, device=device)


def network(image: np.ndarray, classes: ClassNames, device: str) -> Callable[[], object]:
    plugin, model, recipe = _plugin("train-seg", classes, device)
    return lambda: plugin.logits(model, image, recipe.section("eval").infer)


WORK: dict[str, Callable[[np.ndarray, ClassNames, str], Callable[[], object]]] = {
    "CAM": score_maps,
    "CRF": dense_crf,
    "network": network,
}


if __name__ == "__main__":
    main()
