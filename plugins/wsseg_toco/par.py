"""Pixel-adaptive refinement with a position term (Ru et al., CVPR 2022), PAMR's sibling."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from wsseg_cli.ops.pamr import DILATIONS, RING, rings

WIDTH = 0.3
"""Width of both kernels in deviations of the neighbours."""

POSITION = 0.01
"""Share of the position term; the weights of a pixel add up to 1.01 and are not renormalised, as published."""


def par(images: Tensor, masks: Tensor, *, iterations: int = 10, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Return masks after `iterations` of m_i <- sum_j w_ij m_j over the neighbours j, without the pixel itself.

    images: (N, 3, H, W) in [0, 1]. masks: (N, K, h, w), resized to the image (bilinear, corners aligned) if they differ
    in size. Returns (N, K, H, W) float32.
    """
    images, masks = images.float(), masks.float()
    if masks.shape[-2:] != images.shape[-2:]:
        masks = F.interpolate(masks, images.shape[-2:], mode="bilinear", align_corners=True)
    weights = par_affinity(images, dilations=dilations)
    for _ in range(iterations):
        refined = torch.zeros_like(masks)
        for k, moved in enumerate(rings(masks, dilations)):
            refined.addcmul_(weights[:, k : k + 1], moved)
        masks = refined
    return masks


def par_affinity(images: Tensor, *, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Return the weights w_ij of every pixel's 8 neighbours at each dilation, (N, 8 * D, H, W).

    softmax_j of the channels' mean of -(|I_j - I_i| / s / 0.3)^2, plus 0.01 softmax_j of -(p_j / s_p / 0.3)^2: s is the
    unbiased deviation of a channel over the neighbours, p_j their distance and s_p its deviation.
    """
    neighbours = torch.stack(list(rings(images, dilations)), 2)
    spread = neighbours.std(2, keepdim=True)
    colour = -((neighbours - images[:, :, None]).abs() / (spread + 1e-8) / WIDTH).square().mean(1)
    distances = torch.tensor([d * (dy * dy + dx * dx) ** 0.5 for d in dilations for dy, dx in RING])
    distances = distances.to(images)
    position = -(distances / (distances.std() + 1e-8) / WIDTH).square()
    return colour.softmax(1) + POSITION * position.softmax(0)[None, :, None, None]
