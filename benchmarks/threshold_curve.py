"""The threshold curve in one pass beside a loop that reads each file per threshold, in one run.

Masks: VOC 2012 val of the folder `voc12_masks` (WSSEG_DEV_DATA or ../shared/data beside the checkout); scores are made
up, one map a class of the mask, and stored as the `cam` stage stores them. Both ways read with the same functions.

python benchmarks/threshold_curve.py              # our pass over all 1449 masks, the loop over 12 of them
python benchmarks/threshold_curve.py --loop 1449  # the loop over all, about half an hour
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np

from wsseg_cli.data.images import read_mask
from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.metrics import Confusion, ThresholdCurve, threshold_range
from wsseg_cli.ops.masks import mask_from_map
from wsseg_cli.types import ScoreMap, resize_scores

CLASSES = 20


def masks_of(split: str) -> list[Path]:
    here = Path(__file__).resolve().parent.parent
    root = Path(os.environ.get("WSSEG_DEV_DATA", here.parent / "shared" / "data")) / "voc12_masks"
    names = (root / "ImageSets" / "Segmentation" / f"{split}.txt").read_text(encoding="utf-8").split()
    return [root / "SegmentationClass" / f"{name}.png" for name in names]


def made_up(path: Path, rng: np.random.Generator) -> ScoreMap:
    """Return a smooth score map for each class of the mask, high where the class is and in wrong places too."""
    mask = read_mask(path)
    classes = np.array([v - 1 for v in np.unique(mask) if 0 < v <= CLASSES], np.int64)
    height, width = mask.shape
    coarse = (height - 1) // 4 + 1, (width - 1) // 4 + 1
    blobs = resize_scores(rng.random((len(classes), 6, 8), np.float32), coarse)
    truth = np.stack([mask[::4, ::4] == c + 1 for c in classes]) if len(classes) else np.zeros((0, *coarse), bool)
    return ScoreMap(path.stem, classes, np.clip(0.6 * blobs + 0.4 * truth, 0, 1).astype(np.float32), mask.shape)


def one_pass(paths: list[Path], store: ScoreStore, thresholds: list[float]) -> list[Confusion]:
    curve = ThresholdCurve(thresholds, CLASSES)
    for path in paths:
        scores = store[path.stem]
        curve.add(read_mask(path), scores.classes, resize_scores(scores.scores, scores.size))
    return curve.confusions()


def loop(paths: list[Path], store: ScoreStore, thresholds: list[float]) -> list[Confusion]:
    confusions = []
    for threshold in thresholds:
        confusion = Confusion(CLASSES)
        for path in paths:
            scores = store[path.stem]
            confusion.add(read_mask(path), mask_from_map(scores, threshold=threshold))
        confusions.append(confusion)
    return confusions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--split", default="val")
    parser.add_argument("--images", type=int, default=1449, help="masks of our pass")
    parser.add_argument("--loop", type=int, default=12, help="masks of the loop; its time a mask is what is compared")
    a = parser.parse_args()
    thresholds = threshold_range(0.0, 0.59, 0.01)
    paths = masks_of(a.split)[: a.images]
    few = paths[: a.loop]
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        store = ScoreStore(Path(folder))
        for path in paths:
            store.write(made_up(path, rng))
        one_pass(few, store, thresholds)  # files in the cache for both
        start = time.perf_counter()
        ours = one_pass(paths, store, thresholds)
        seconds = time.perf_counter() - start
        start = time.perf_counter()
        theirs = loop(few, store, thresholds)
        loop_seconds = time.perf_counter() - start
        same = one_pass(few, store, thresholds)
    equal = all(np.array_equal(x.counts, y.counts) for x, y in zip(same, theirs, strict=True))
    ratio = (loop_seconds / len(few)) / (seconds / len(paths))
    best = int(np.argmax([c.mean_iou() for c in ours]))
    rows = {
        "thresholds": len(thresholds),
        "masks": {"one_pass": len(paths), "loop": len(few)},
        "seconds": {"one_pass": round(seconds, 2), "loop": round(loop_seconds, 2)},
        "milliseconds_a_mask": {
            "one_pass": round(1e3 * seconds / len(paths), 2),
            "loop": round(1e3 * loop_seconds / len(few), 1),
        },
        "faster": round(ratio, 1),
        "equal_counts": equal,
        "best_threshold": thresholds[best],
        "best_mean_iou": round(ours[best].mean_iou(), 4),
    }
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
