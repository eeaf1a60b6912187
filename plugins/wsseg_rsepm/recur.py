"""RecurSeed: the network's own maps, spread and refined, become its targets. Reconstructed: the code is unpublished."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg_cli.ops.losses import mask_cross_entropy, shrink_mask
from wsseg_cli.types import IGNORE

from .maps import enlarged, to_one
from .scg import ScgParameters, self_correlation


def spread_seeds(
    seeds: Tensor,
    features: Iterable[Tensor],
    labels: Tensor,
    inside: Tensor,
    parameters: ScgParameters,
) -> Tensor:
    """Return seed maps (N, C, h, w) in [0, 1] after self-correlation; absent classes and cells outside are 0.

    features: maps (N, D, …) of any sizes, resized to the seeds'. inside: (N, h, w) bool.
    """
    size = (seeds.shape[2], seeds.shape[3])
    maps = self_correlation(seeds, (enlarged(f, size) for f in features), parameters, inside)
    return maps * labels[:, :, None, None]


def refined_seeds(maps: Tensor, labels: Tensor, inside: Tensor) -> Tensor:
    """Return maps at image size, (N, C, H, W) in [0, 1]: 0 outside and for absent classes, each over its maximum.

    maps: (N, C, h, w) after PAMR, which lowers peaks; the certain filter needs a fixed scale. inside: (N, H, W) bool.
    """
    full = enlarged(maps, (inside.shape[1], inside.shape[2]))
    return to_one(full * inside[:, None] * labels[:, :, None, None])


def certain_filter(maps: Tensor, inside: Tensor, certain: float, uncertain: float) -> Tensor:
    """Return masks (N, H, W) int64: the highest class from `certain` up, background up to `uncertain`, else 255.

    maps: (N, C, H, W) in [0, 1], foreground classes. inside: (N, H, W) bool; outside is 255.
    """
    highest, label = maps.max(1)
    mask = torch.full_like(label, IGNORE)
    mask = torch.where(highest <= uncertain, 0, mask)
    mask = torch.where(highest >= certain, label + 1, mask)
    return torch.where(inside, mask, IGNORE)


def without_lost_classes(mask: Tensor, maps: Tensor, labels: Tensor) -> Tensor:
    """Return masks (N, H, W), 255 throughout for an image in which a present class has a map of zeros.

    Its pixels would be learnt as background. maps: (N, C, H, W); labels: (N, C) multi-hot.
    """
    lost = ((labels > 0) & (maps.amax((2, 3)) <= 0)).any(1)
    return torch.where(lost[:, None, None], IGNORE, mask)


def reconstruction_loss(maps: Tensor, targets: Tensor, labels: Tensor, inside: Tensor) -> Tensor:
    """Return the mean of |map - target| over the cells inside, of the present classes; 0 if there are none.

    maps: (N, C, h, w) in [0, 1] with a gradient. targets: (N, C, H, W), averaged over each cell here; classes whose
    target is zero everywhere do not count. labels: (N, C) multi-hot. inside: (N, h, w) bool.
    """
    counted = (labels > 0) & (targets.amax((2, 3)) > 0)
    cells = counted[:, :, None, None] & inside[:, None]
    goal = F.adaptive_avg_pool2d(targets, (maps.shape[2], maps.shape[3]))
    return ((maps - goal).abs() * cells).sum() / cells.sum().clamp(min=1)


def segmentation_loss(logits: Tensor, mask: Tensor, at: Literal["image", "logits"] = "image") -> Tensor:
    """Return the mean cross-entropy over the pixels that are not 255; 0 if all are.

    logits: (N, 1+C, h, w), enlarged to the mask by "nearest" (RecurSeed); at "logits" the mask shrinks instead (DHR).
    mask: (N, H, W) int64.
    """
    if at == "logits":
        return mask_cross_entropy(logits, shrink_mask(mask, (logits.shape[2], logits.shape[3])))
    return mask_cross_entropy(F.interpolate(logits, size=mask.shape[1:], mode="nearest"), mask)
