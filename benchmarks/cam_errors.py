"""What the CAMs (initial seeds) of runs get wrong: background taken for an object, another class, or an object missed.

    python benchmarks/cam_errors.py runs/toy_table/cam_800-0 runs/toy_table/seam-0
    VOC_ROOT=… python benchmarks/cam_errors.py runs/voc_table/cam-0 runs/voc_table/seam-0 --split train_mini --every 7

Of the images of a split with their labels given, at the threshold that is best on their masks; and which share of the
pixels of objects and of background has a highest score above levels at which published methods choose their targets.
For a SEAM network also the mIoU of its maps before the pixel correlation module, and how alike it finds two cells.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from wsseg_seam.channels import foreground
from wsseg_seam.method import SEAM
from wsseg_seam.pcm import resized

from wsseg_cli.data.images import read_image
from wsseg_cli.data.stores import checked_mask
from wsseg_cli.metrics import Confusion, ThresholdCurve, threshold_range
from wsseg_cli.notebook import Run
from wsseg_cli.ops.cam import multi_scale
from wsseg_cli.ops.masks import mask_from_map
from wsseg_cli.types import IGNORE, Sample, ScoreMap

THRESHOLDS = threshold_range(0.02, 0.9, 0.01)
LEVELS = (0.1, 0.2, 0.3, 0.55, 0.7)


def main() -> None:
    parser = parser_of_images(__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    arguments = parser.parse_args()
    for folder in arguments.runs:
        run = Run(folder)
        samples, maps = run.samples(arguments.split)[:: arguments.every], run.scores("cam")
        best = best_of(run, samples, (maps[sample.image_id] for sample in samples))
        errors = shares(run, samples, maps, best.threshold)
        print(f"{folder}: {100 * best.mean_iou:.1f} at {best.threshold:.2f}; {errors}")
        print(f"    {above(run, samples, maps)}")
        method, network = run.model("train-cls")
        if isinstance(method, SEAM):
            raw = best_of(run, samples, (raw_maps(method, network, run, sample) for sample in samples))
            alike = np.mean([similarity(method, network, read_image(sample.image)) for sample in samples[::10]])
            print(f"    before the correlation module {100 * raw.mean_iou:.1f}; two cells are alike by {alike:.2f}")


def parser_of_images(doc: str | None) -> argparse.ArgumentParser:
    """Return a parser that knows which images of a run are asked for."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--split", default="train")
    parser.add_argument("--every", type=int, default=1, help="every n-th image alone")
    return parser


def best_of(run: Run, samples: Sequence[Sample], maps: Iterable[ScoreMap]) -> Any:
    curve = ThresholdCurve(THRESHOLDS, len(run.classes))
    for sample, scores in zip(samples, maps, strict=True):
        assert sample.mask is not None
        curve.add(checked_mask(sample.mask, run.classes), scores.classes, scores.full(0.0)[1:])
    return curve.best()


def shares(run: Run, samples: Sequence[Sample], maps: Mapping[str, ScoreMap], threshold: float) -> str:
    confusion = Confusion(len(run.classes))
    for sample in samples:
        assert sample.mask is not None
        scores = maps[sample.image_id]
        mask = mask_from_map(scores, threshold=threshold)
        confusion.add(checked_mask(sample.mask, run.classes), mask, image_id=sample.image_id)
    counts = confusion.matrix
    predicted, right = counts[:, 1:].sum(), np.trace(counts[1:, 1:])
    spilt, missed = counts[0, 1:].sum() / predicted, counts[1:, 0].sum() / counts[1:].sum()
    other = 1 - spilt - right / predicted
    return (
        f"of what it predicts {spilt:.0%} is background, {other:.0%} another class; {missed:.0%} of objects is missed"
    )


def above(run: Run, samples: Sequence[Sample], maps: Mapping[str, ScoreMap]) -> str:
    """Say which share of objects and of background is above each of the levels."""
    counts = np.zeros((2, 1 + len(LEVELS)))
    for sample in samples:
        assert sample.mask is not None
        mask, highest = checked_mask(sample.mask, run.classes), maps[sample.image_id].full(0.0)[1:].max(0)
        for row, pixels in enumerate((highest[(mask > 0) & (mask != IGNORE)], highest[mask == 0])):
            counts[row] += [pixels.size, *((pixels > level).sum() for level in LEVELS)]
    of_objects, of_background = counts[:, 1:] / counts[:, :1]
    shares = zip(LEVELS, of_objects, of_background, strict=True)
    return "above " + "; ".join(f"{level}: {a:.0%} of objects, {b:.0%} of background" for level, a, b in shares)


@torch.no_grad()
def raw_maps(method: SEAM, network: Any, run: Run, sample: Sample) -> ScoreMap:
    assert run.recipe.cam is not None
    return multi_scale(
        network,
        read_image(sample.image),
        sample.labels,
        run.recipe.cam.infer,
        normalization=method.normalization,
        forward=lambda views: resized(foreground(network(views).cams), (views.shape[2], views.shape[3])),
        activation=torch.relu,
        logits=lambda maps: maps.mean((2, 3)),
        class_threshold=0.5,
        norm="min_max",
    )


@torch.no_grad()
def similarity(method: SEAM, network: Any, image: Any) -> float:
    views = torch.from_numpy(method.normalization.apply(image)).permute(2, 0, 1)[None]
    kept: list[torch.Tensor] = []
    hook = network.f9.register_forward_hook(lambda *passed: kept.append(passed[-1]))
    network(views)
    hook.remove()
    unit = torch.nn.functional.normalize(kept[0].flatten(2)[0], dim=0)
    return float(torch.relu(unit.T @ unit).mean())


if __name__ == "__main__":
    main()
