"""Pseudo-masks after a recipe's CRF at other thresholds, beside the maps without it: where its threshold stands.

    VOC_ROOT=… python benchmarks/crf_threshold.py runs/voc_table/cam-0 runs/voc_table/irn-0 --split train_mini --every 7

mIoU over every n-th image of a split with its labels given. Stored score maps are read, nothing is trained or written.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from wsseg_cli.data.images import read_image
from wsseg_cli.data.stores import checked_mask
from wsseg_cli.metrics import Confusion
from wsseg_cli.notebook import Run
from wsseg_cli.recipe.sections import PseudoSettings
from wsseg_cli.stages.plugins import crf_image
from wsseg_cli.stages.pseudo import labelled


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--split", default="train")
    parser.add_argument("--every", type=int, default=1)
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55])
    arguments = parser.parse_args()
    heads = " | ".join(f"{threshold:.2f}" for threshold in arguments.thresholds)
    print(f"| threshold | {heads} |\n{'|---' * (1 + len(arguments.thresholds))}|")
    for folder in arguments.runs:
        for with_crf in (False, True):
            reached = mious(Run(folder), arguments.split, arguments.every, arguments.thresholds, with_crf)
            cells = " | ".join(f"{value:.1f}" for value in reached)
            print(f"| {folder.name}{', CRF' if with_crf else ''} | {cells} |", flush=True)


def mious(run: Run, split: str, every: int, thresholds: list[float], with_crf: bool) -> list[float]:
    """Return the mIoU in per cent of the masks of each threshold."""
    section = run.recipe.pseudo
    assert section is not None
    maps = run.scores("refine" if run.recipe.refine else "cam")
    confusions = [Confusion(len(run.classes)) for _ in thresholds]
    for sample in run.samples(split)[::every]:
        assert sample.mask is not None
        scores, truth = maps[sample.image_id], checked_mask(sample.mask, run.classes)
        image = None
        if with_crf and section.crf:
            image = crf_image(section.crf, None, read_image(sample.image, sample.orientation))
        for confusion, threshold in zip(confusions, thresholds, strict=True):
            at = at_threshold(section, threshold, with_crf)
            mask, _ = labelled(scores, at, image, "cpu")
            confusion.add(truth, np.asarray(mask), image_id=sample.image_id)
    return [100 * confusion.mean_iou() for confusion in confusions]


def at_threshold(section: PseudoSettings, threshold: float, with_crf: bool) -> PseudoSettings:
    background = section.background.model_copy(update={"threshold": threshold})  # type: ignore[union-attr]
    changed = {"background": background} | ({} if with_crf else {"crf": None})
    return section.model_copy(update=changed)


if __name__ == "__main__":
    main()
