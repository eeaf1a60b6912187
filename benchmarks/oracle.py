"""`wsseg` with the single-stage methods learning from true masks in place of their own: can the machine learn at all?

    VOC_ROOT=… python benchmarks/oracle.py run --recipe onestage_voc_lite --run runs/onestage_oracle --to cam

Words are those of `wsseg`. All else of `onestage` and `rsepm` is as it was: network, losses, when they begin, and
which pixels and images count. Where a method stays below CAM and this does not, its own masks mislead it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from wsseg_onestage.method import OneStage
from wsseg_rsepm import method as rsepm
from wsseg_rsepm.method import RecurSeedEPM
from wsseg_rsepm.step import Seen, StepRules, Targets

from wsseg_cli.data.transforms.pipelines import classification_transform
from wsseg_cli.main import main
from wsseg_cli.plugin.protocols import Batch
from wsseg_cli.types import IGNORE

TRUE: list[Tensor] = []
"""The masks (N, H, W) int64 of the batch at work."""


def one_hot(mask: Tensor, classes: int) -> Tensor:
    """Return (N, 1+C, H, W); void pixels have no class."""
    values = torch.arange(1 + classes, device=mask.device)[None, :, None, None]
    return (mask[:, None] == values).float()


def true_pseudo_ground_truth(self: OneStage, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
    return one_hot(TRUE[0], labels.shape[1])


def true_targets(seen: Seen, rules: StepRules, mix: bool) -> Targets:
    mask = torch.where(seen.pixels, TRUE[0], IGNORE)
    return Targets(one_hot(mask, seen.labels.shape[1])[:, 1:], mask, mask if mix else None)


def with_masks(cls: Any, **transform: Any) -> None:
    """Let a method read true masks, cropped as its images, and keep them while a step is computed."""
    asked, step = cls.requirements.__func__, cls.training_step

    def requirements(kind: Any, options: Any) -> Any:
        return replace(asked(kind, options), training=frozenset({"mask"}))

    def train_transform(self: Any, augment: Any) -> Any:
        return classification_transform(augment, normalize=self.normalization, with_=("mask",), **transform)

    def training_step(self: Any, model: Any, batch: Batch, progress: Any) -> Any:
        TRUE[:] = [batch["mask"].long()]
        return step(self, model, batch, progress)

    patched: dict[str, Callable[..., Any]] = {"train_transform": train_transform, "training_step": training_step}
    for name, function in patched.items():
        setattr(cls, name, function)
    cls.requirements = classmethod(requirements)


with_masks(OneStage)
with_masks(RecurSeedEPM, box=True)
OneStage.pseudo_ground_truth = true_pseudo_ground_truth  # type: ignore[method-assign]
rsepm.refined_targets = true_targets

if __name__ == "__main__":
    main()
