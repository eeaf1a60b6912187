"""What RecurSeed would learn from a trained plain CAM: its first targets, beside the true masks of the same crops.

    VOC_ROOT=… python benchmarks/rsepm_targets.py runs/voc_road/cam_train-0 --split train --every 8

The CAM's backbone and class layer stand in RecurSeed's network, which makes its targets in crops of the classifier's
training. For each choice of their values: mIoU of the refined seeds at their best threshold, and what the certain
filter makes of the pixels of objects (their class, another class or background, or nothing) and of the background.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from cam_errors import THRESHOLDS, parser_of_images
from torch import Tensor
from wsseg_cam.net import CamNet
from wsseg_rsepm.net import RsepmNet
from wsseg_rsepm.scg import ScgParameters
from wsseg_rsepm.step import Seen, StepRules, first_pass, refined_targets

from wsseg_cli.data.loader import sample_arrays
from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.metrics import ThresholdCurve
from wsseg_cli.notebook import Run
from wsseg_cli.recipe.sections import TrainClsSettings
from wsseg_cli.types import IGNORE

PUBLISHED = StepRules(ScgParameters(), certain=0.55, uncertain=0.1)
STRICT_SCG = ScgParameters(first=0.7, foreground=0.6, background=0.3)
BETWEEN_SCG = ScgParameters(first=0.6, foreground=0.45, background=0.2)
CAMS = replace(PUBLISHED, spread=False, pamr_iterations=0)
PAMR = replace(PUBLISHED, spread=False)


def strict_filter(rules: StepRules) -> StepRules:
    return replace(rules, certain=0.7, uncertain=0.3)


CHOICES = {
    "CAMs, published filter": CAMS,
    "CAMs, strict filter": strict_filter(CAMS),
    "PAMR, published filter": PAMR,
    "PAMR, strict filter": strict_filter(PAMR),
    "SCG, published": replace(PUBLISHED, pamr_iterations=0),
    "SCG and PAMR, published": PUBLISHED,
    "SCG and PAMR, published but for a strict filter": strict_filter(PUBLISHED),
    "SCG and PAMR, half way": replace(PUBLISHED, scg=BETWEEN_SCG, certain=0.6, uncertain=0.2),
    "SCG and PAMR, strict": strict_filter(replace(PUBLISHED, scg=STRICT_SCG)),
    "SCG of the last feature map alone and PAMR, strict": strict_filter(
        replace(PUBLISHED, scg=STRICT_SCG, feature_maps=("conv6",))
    ),
}


class Score:
    """What the targets of one choice are worth."""

    def __init__(self, num_classes: int) -> None:
        self.curve = ThresholdCurve(THRESHOLDS, num_classes)
        self.counts = np.zeros((2, 3))

    def add(self, seeds: Tensor, mask: Tensor, truth: Tensor, labels: Tensor) -> None:
        """Count one crop. seeds: (C, H, W); mask, truth: (H, W); labels: (C,) multi-hot."""
        classes = labels.nonzero()[:, 0]
        self.curve.add(truth.numpy().astype(np.uint8), classes.numpy(), seeds[classes].numpy())
        for row, pixels in enumerate(((truth > 0) & (truth != IGNORE), truth == 0)):
            given, true = mask[pixels], truth[pixels]
            right, nothing = (given == true).sum(), (given == IGNORE).sum()
            self.counts[row] += [right, len(given) - right - nothing, nothing]

    def __str__(self) -> str:
        best = self.curve.best()
        shares = (" / ".join(f"{100 * n / row.sum():.0f}" for n in row) + " %" for row in self.counts)
        return f"{100 * best.mean_iou:.1f} at {best.threshold:.2f} | {' | '.join(shares)}"


def main() -> None:
    parser = parser_of_images(__doc__)
    parser.add_argument("run", type=Path)
    arguments = parser.parse_args()
    run = Run(arguments.run)
    scores = {name: Score(len(run.classes)) for name in CHOICES}
    for seen, truth in crops(run, arguments.split, arguments.every):
        for name, rules in CHOICES.items():
            targets = refined_targets(seen, rules, mix=False)
            scores[name].add(targets.seeds[0], targets.mask[0], truth, seen.labels[0])
    print("| targets | mIoU of the seeds | objects: theirs / wrong / nothing | background: its / wrong / nothing |")
    print("|---" * 4 + "|")
    for name, score in scores.items():
        print(f"| {name} | {score} |")


@torch.no_grad()
def crops(run: Run, split: str, every: int) -> Iterator[tuple[Seen, Tensor]]:
    """Yield what the network sees in a crop of each image, and the crop's true mask (H, W)."""
    method, cam = run.model("train-cls")
    if not isinstance(cam, CamNet) or not isinstance(run.recipe.train_cls, TrainClsSettings):
        raise SystemExit(f"{run.path}: not a run of plain CAM")
    network = RsepmNet(cam.backbone, len(run.classes), decoder_width=8).eval()
    network.classifier.weight.copy_(cam.fc8.weight)
    augment = run.recipe.train_cls.augment
    transform = classification_transform(augment, normalize=method.normalization, with_=("mask",), box=True)
    for index, sample in enumerate(run.samples(split)[::every]):
        arrays = sample_arrays(sample, frozenset({"mask"}), len(run.classes))
        batch = transform(arrays, np.random.default_rng([0, index]))
        image, label, box = (batch[name][None] for name in ("image", "label", "box"))
        yield first_pass(network, image, label, box), batch["mask"]


if __name__ == "__main__":
    main()
