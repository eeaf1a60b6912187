"""Losses of the DeepLab family: cross-entropy where logits and mask meet, and its sum over several scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from wsseg_cli.nets.deeplab.blocks import resize
from wsseg_cli.ops.losses import mask_cross_entropy, shrink_mask
from wsseg_cli.types import IGNORE

from .training import MaskRule


def strided_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Return a mask (N, H, W) at `size` by taking every n-th pixel from the first, as Caffe's DeepLab does.

    n is the stride of the network, H = n * (h - 1) + 1 for the published crops; others are rounded.
    """
    for axis, length in zip((1, 2), size, strict=True):
        stride = round((mask.shape[axis] - 1) / max(1, length - 1))
        index = torch.arange(length, device=mask.device) * stride
        mask = mask.index_select(axis, index.clamp(max=mask.shape[axis] - 1))
    return mask


def logits_loss(
    logits: Tensor, mask: Tensor, rule: MaskRule = "crop", *, align_corners: bool = False, ignore: int = IGNORE
) -> Tensor:
    """Return the cross-entropy of logits (N, 1+C, h, w) against a mask (N, H, W); 0 if no pixel counts.

    rule: `crop` enlarges the logits to the mask; `pillow` and `stride` shrink the mask to the logits.
    """
    size = (logits.shape[-2], logits.shape[-1])
    if rule == "crop":
        return mask_cross_entropy(resize(logits, mask.shape[-2:], align_corners), mask.long(), ignore)
    small = shrink_mask(mask, size) if rule == "pillow" else strided_mask(mask, size)
    return mask_cross_entropy(logits, small.long(), ignore)


def pyramid_losses(
    logits: Sequence[Tensor], mask: Tensor, rule: MaskRule, *, align_corners: bool = False, ignore: int = IGNORE
) -> list[Tensor]:
    """Return the cross-entropy of each map of logits; the loss of DeepLab v2 is their sum.

    logits: of each scale and their maximum, as `pyramid_logits` gives them, (N, 1+C, h, w) each; mask: (N, H, W).
    """
    return [logits_loss(z, mask, rule, align_corners=align_corners, ignore=ignore) for z in logits]
