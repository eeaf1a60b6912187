"""Losses of the DeepLab family: cross-entropy over all pixels that count, and its sum over several scales."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg_cli.types import IGNORE


def mask_cross_entropy(logits: Tensor, mask: Tensor, ignore: int = IGNORE) -> Tensor:
    """Return the mean cross-entropy over all pixels of the batch that are not `ignore`; 0 if there are none.

    logits: (N, 1+C, h, w); mask: (N, h, w) integers.
    """
    total = F.cross_entropy(logits, mask.long(), ignore_index=ignore, reduction="sum")
    return total / (mask != ignore).sum().clamp(min=1)


def shrunk_mask(mask: Tensor, size: Sequence[int]) -> Tensor:
    """Return a mask (N, H, W) at `size` as Pillow's NEAREST does it: cell i takes pixel floor((i + 0.5) * H / h).

    torch's own "nearest" takes floor(i * H / h), another pixel.
    """
    for axis, length in zip((1, 2), size, strict=True):
        step = mask.shape[axis] / length
        index = ((torch.arange(length, dtype=torch.float64, device=mask.device) + 0.5) * step).floor().long()
        mask = mask.index_select(axis, index.clamp(max=mask.shape[axis] - 1))
    return mask


def pyramid_cross_entropy(logits: Sequence[Tensor], mask: Tensor, ignore: int = IGNORE) -> list[Tensor]:
    """Return the cross-entropy of each map of logits against the mask at its size; the loss is their sum.

    logits: of each scale and their maximum, as `pyramid_logits` gives them, (N, 1+C, h, w) each; mask: (N, H, W).
    """
    return [mask_cross_entropy(z, shrunk_mask(mask, z.shape[-2:]), ignore) for z in logits]
