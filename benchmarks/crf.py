"""Dense CRF: ours beside pydensecrf, interleaved in one run; every time printed, medians compared.

    python benchmarks/crf.py [--repeats 7]

Needs scikit-image (for a photo) and the extra `wsseg[pydensecrf]`. One thread unless a row says otherwise.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from PIL import Image
from skimage import data

from wsseg_cli.ops.crf import PRESETS, CrfParameters, dense_crf, mean_field
from wsseg_cli.types import resize_scores

SIZE = (375, 500)
CASES = (
    ("psa", 3, 3),
    ("psa", 21, 21),
    ("psa", 21, 3),
    ("deeplab", 3, 3),
    ("deeplab", 21, 21),
    ("irn", 3, 3),
)
"""Preset, rows of scores, rows that are not zero."""
COCO_IMAGES, COCO_SIZE, COCO_LABELS = 82_783, (480, 640), 4


def photo(size: tuple[int, int], which: str = "astronaut") -> np.ndarray:
    height, width = size
    return np.array(Image.fromarray(getattr(data, which)()).resize((width, height), Image.Resampling.BICUBIC))


def softmax_scores(labels: int, size: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Return smooth class probabilities as a network at stride 32 gives them."""
    coarse = np.random.default_rng(seed).standard_normal((labels, size[0] // 32, size[1] // 32)).astype(np.float32)
    logits = 3 * resize_scores(coarse, size)
    odds = np.exp(logits - logits.max(0))
    return odds / odds.sum(0)


def reference(image: np.ndarray, scores: np.ndarray, p: CrfParameters) -> np.ndarray:
    """Return the marginals as the published scripts get them from pydensecrf."""
    import pydensecrf.densecrf as library
    from pydensecrf.utils import unary_from_softmax

    height, width = image.shape[:2]
    crf = library.DenseCRF2D(width, height, len(scores))
    crf.setUnaryEnergy(np.ascontiguousarray(unary_from_softmax(scores)))
    crf.addPairwiseGaussian(sxy=p.gaussian_sxy, compat=p.gaussian_weight)
    crf.addPairwiseBilateral(sxy=p.bilateral_sxy, srgb=p.bilateral_srgb, rgbim=image, compat=p.bilateral_weight)
    return np.array(crf.inference(p.iterations)).reshape(scores.shape)


def interleaved(runs: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of every run, each called once per round so that a busy machine hits all alike."""
    for run in runs.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def single(image: np.ndarray, scores: np.ndarray, p: CrfParameters, threads: int = 1) -> np.ndarray:
    """Return our marginals with nothing kept from an image before."""
    mean_field.smooth_lattice.cache_clear()
    return dense_crf(image, scores, p, threads=threads)


def compare(name: str, labels: int, present: int, repeats: int) -> list[str]:
    """Return the table rows of one preset with `labels` rows of which only `present` are not zero."""
    image, p = photo(SIZE), PRESETS[name].model_copy(update={"unary": "scores", "iterations": 10})
    scores = softmax_scores(labels, SIZE)
    scores[present:] = 0
    runs: dict[str, Callable[[], object]] = {
        "pydensecrf": lambda: reference(image, scores, p),
        "single images": lambda: single(image, scores, p),
        "run of one size": lambda: dense_crf(image, scores, p),
        "single, two threads": lambda: single(image, scores, p, threads=2),
        "run, two threads": lambda: dense_crf(image, scores, p, threads=2),
    }
    if torch.cuda.is_available():
        runs["torch on CUDA"] = lambda: dense_crf(image, scores, p, device="cuda")
    seconds = interleaved(runs, repeats)
    ours, theirs = dense_crf(image, scores, p), reference(image, scores, p)
    agree = 100 * float(np.mean(ours.argmax(0) == theirs.argmax(0)))
    close = 100 * float(np.mean(np.abs(ours - theirs) <= 1e-3))
    median = {run: statistics.median(times) for run, times in seconds.items()}
    what = f"{name}, {labels} labels" + (f", {present} present" if present < labels else "")
    rows = []
    for run, times in seconds.items():
        every = " ".join(f"{1000 * t:.0f}" for t in times)
        ratio = median["pydensecrf"] / median[run]
        rows.append(f"| {what} | {run} | {1000 * median[run]:.0f} | {ratio:.2f} | {every} |")
    rows.append(f"| {what} | agreement | labels {agree:.4f} % | Q within 1e-3 {close:.4f} % | |")
    return rows


def outlook(repeats: int) -> str:
    """Return the hours for the training images of COCO 2014, from one image of their usual size."""
    image, scores = photo(COCO_SIZE), softmax_scores(COCO_LABELS, COCO_SIZE)
    seconds = interleaved(
        {
            "pydensecrf": lambda: reference(image, scores, PRESETS["psa"]),
            "ours": lambda: dense_crf(image, scores, PRESETS["psa"]),
        },
        repeats,
    )
    with ThreadPoolExecutor(2) as pool:
        two = {"two": lambda: list(pool.map(lambda _: dense_crf(image, scores), range(2)))}
        both = interleaved(two, repeats)["two"]
    lines = [f"COCO 2014 train, {COCO_IMAGES} images of {COCO_SIZE[0]} x {COCO_SIZE[1]}, {COCO_LABELS} labels, psa:"]
    for name, times in seconds.items():
        each = statistics.median(times)
        hours = ", ".join(f"{COCO_IMAGES * each / 3600 / cores:.2f} h on {cores}" for cores in (1, 8, 64))
        lines.append(f"{name}: {1000 * each:.0f} ms an image, so {hours} cores (one image a core)")
    gain = 2 * statistics.median(seconds["ours"]) / statistics.median(both)
    lines.append(f"two images at a time on two cores, in two threads of one process: {gain:.2f} times as many a second")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    repeats = parser.parse_args().repeats
    print(f"{SIZE[0]} x {SIZE[1]} pixels, 10 iterations, medians of {repeats} in milliseconds\n")
    print("| what | run | median ms | times pydensecrf | all, ms |\n| --- | --- | ---: | ---: | --- |")
    for name, labels, present in CASES:
        print("\n".join(compare(name, labels, present, repeats)), flush=True)
    print("\n" + outlook(repeats))


if __name__ == "__main__":
    main()
