"""Losses that several systems share: image-level labels, masks with pixels to ignore, shrunken masks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..types import IGNORE


def multilabel_soft_margin(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the mean over images and classes of -[y log s(x) + (1 - y) log s(-x)], s the sigmoid.

    logits: (N, C); labels: (N, C) multi-hot or soft in [0, 1].
    """
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype))


def mask_cross_entropy(logits: Tensor, mask: Tensor, ignore: int = IGNORE) -> Tensor:
    """Return the mean cross-entropy over all pixels of the batch that are not `ignore`; 0 if all are.

    logits: (N, 1+C, h, w); mask: (N, h, w) int64. The zero keeps its gradient (of zeros), so that a crop that is all
    ignored neither gives NaN nor leaves parameters without a gradient.
    """
    summed = F.cross_entropy(logits, mask, ignore_index=ignore, reduction="sum")
    return summed / (mask != ignore).sum().clamp(min=1)


def shrink_mask(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Return masks (N, H, W) at `size` by Pillow's nearest rule, source index floor((i + 0.5) * H / h).

    As deeplab-pytorch shrinks labels to its logits; torch's plain "nearest" takes other pixels.
    """
    rows, columns = (
        torch.div((2 * torch.arange(n, device=mask.device) + 1) * mask.shape[a + 1], 2 * n, rounding_mode="floor")
        for a, n in enumerate(size)
    )
    return mask[:, rows][:, :, columns]
