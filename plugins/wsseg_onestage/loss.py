"""Class scores of masks, pseudo ground truth from refined masks, and the two losses (Araslanov & Roth, CVPR 2020)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.ops.pamr import DILATIONS, pamr_of
from wsseg_cli.types import IGNORE

ClassLoss = Literal["soft_margin", "hinge"]


def normalised_weighted_pooling(logits: Tensor, masks: Tensor) -> Tensor:
    """Return nGWP scores (N, K), sum_i m_ci y_ci / (1 + sum_i m_ci) (Araslanov & Roth 2020).

    logits: y, (N, K, h, w); masks: m, their softmax.
    """
    return (masks * logits).sum((2, 3)) / (1 + masks.sum((2, 3)))


def size_penalty(share: Tensor, *, power: float = 3.0, floor: float = 0.01) -> Tensor:
    """Return (1 - mu)^p log(lambda + mu), negative for small masks (Araslanov & Roth 2020).

    share: mu, the mean of a mask over the image, in [0, 1]; power: p; floor: lambda.
    """
    return (1 - share) ** power * (floor + share).log()


def class_scores(logits: Tensor, masks: Tensor, *, power: float = 3.0, floor: float = 0.01) -> Tensor:
    """Return the scores of the C classes (N, C) before a sigmoid: nGWP and size penalty; the background is dropped.

    logits: (N, 1+C, h, w), background first; masks: their softmax. The gradient flows through both.
    """
    pooled = normalised_weighted_pooling(logits, masks)
    return (pooled + size_penalty(masks.mean((2, 3)), power=power, floor=floor))[:, 1:]


def class_loss(scores: Tensor, labels: Tensor, kind: ClassLoss = "soft_margin") -> Tensor:
    """Return the multi-label loss of scores (N, C) for multi-hot labels (N, C): soft margin, or torch's hinge."""
    if kind == "soft_margin":
        return multilabel_soft_margin(scores, labels)
    present = labels > 0
    # torch expects the present classes' indices first, then -1
    order = present.int().argsort(dim=1, descending=True, stable=True)
    targets = torch.where(present.gather(1, order), order, torch.full_like(order, -1))
    return F.multilabel_margin_loss(scores, targets)


@torch.no_grad()
def refined_masks(
    images: Tensor,
    masks: Tensor,
    labels: Tensor,
    *,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
) -> Tensor:
    """Return the masks (N, 1+C, h, w) of background and present classes after PAMR on their grid, others 0.

    images: (N, 3, H, W) RGB, resized to the grid (bilinear, corners aligned, no antialiasing), so that a dilation spans
    the same number of cells; masks: (N, 1+C, h, w), background first; labels: (N, C) multi-hot.
    """
    kept = torch.cat([torch.ones_like(labels[:, :1]), labels], 1) > 0
    small = F.interpolate(images.float(), masks.shape[-2:], mode="bilinear", align_corners=True)
    return pamr_of(kept, small, masks, iterations=iterations, dilations=dilations)


def cleaned(masks: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks (N, 1+C, H, W) at image size, absent classes 0; the rows do not sum to 1."""
    kept = torch.cat([torch.ones_like(labels[:, :1]), labels], 1)
    full = F.interpolate(masks, size, mode="bilinear", align_corners=True)
    return full * kept[:, :, None, None]


class Cutoffs(NamedTuple):
    """Where a mask becomes pseudo ground truth: above `floor` and above a share of the class's maximum."""

    floor: float = 0.2
    foreground: float = 0.6
    background: float = 0.7


def pseudo_ground_truth(masks: Tensor, cutoffs: Cutoffs = Cutoffs()) -> Tensor:
    """Return one-hot masks (N, 1+C, H, W), [M_c > max(floor, kappa_c max M_c)] (Araslanov & Roth 2020).

    masks: M, (N, 1+C, H, W) in [0, 1], background first, absent classes 0. A pixel that several classes claim, or none,
    has no class and is ignored.
    """
    kappa = masks.new_full((masks.shape[1],), cutoffs.foreground)
    kappa[0] = cutoffs.background
    highest = masks.flatten(2).amax(2) * kappa
    claimed = (masks > highest.clamp(min=cutoffs.floor)[:, :, None, None]).to(masks.dtype)
    return claimed * (claimed.sum(1, keepdim=True) == 1)


def balanced_mask_loss(logits: Tensor, truth: Tensor, labels: Tensor) -> Tensor:
    """Return the class-balanced cross-entropy of each image, (N,) (Araslanov & Roth 2020).

    The mean over all pixels, ignored ones with 0, of (n - n_c) / (1 + n) CE. 0 for an image whose pseudo ground truth
    lacks one of its classes or the background.

    logits: (N, 1+C, h, w), resized to the masks (bilinear, corners aligned); truth: one-hot (N, 1+C, H, W); labels:
    (N, C) multi-hot.
    """
    counts = truth.flatten(2).sum(2)
    complete = (counts > 0).sum(1) == (labels > 0).sum(1) + 1
    used = complete.nonzero()[:, 0]
    loss = logits.new_zeros(len(logits))
    if not len(used):
        return loss
    truth, counts = truth[used], counts[used]
    total = counts.sum(1, keepdim=True)
    weights = (total - counts) / (1 + total)
    target = truth.argmax(1)
    target = torch.where(truth.sum(1) > 0, target, torch.full_like(target, IGNORE))
    full = F.interpolate(logits[used], truth.shape[-2:], mode="bilinear", align_corners=True)
    entropy = F.cross_entropy(full, target, ignore_index=IGNORE, reduction="none")
    pixel_weights = (weights[:, :, None, None] * truth).sum(1)
    return loss.index_copy(0, used, (entropy * pixel_weights).mean((1, 2)))
