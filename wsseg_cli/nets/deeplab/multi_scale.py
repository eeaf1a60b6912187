"""One network on several sizes of the same images, fused by the maximum (DeepLab v2, Chen et al., TPAMI 2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from .blocks import resize


def pyramid_logits(
    network: Callable[[Tensor], Tensor], images: Tensor, scales: Sequence[float] = (0.5, 0.75)
) -> list[Tensor]:
    """Return the logits of the original images, of each scale at its own size, and last their maximum.

    images: (N, 3, H, W). The maximum has the size of the first; smaller maps are enlarged to it (corners not aligned).
    Losses use all of them, predictions the last.
    """
    full = network(images)
    smaller = [
        network(
            F.interpolate(
                images, scale_factor=scale, mode="bilinear", align_corners=False, recompute_scale_factor=False
            )
        )
        for scale in scales
    ]
    enlarged = [resize(logits, full.shape[-2:], align_corners=False) for logits in smaller]
    return [full, *smaller, torch.stack([full, *enlarged]).max(0).values]
