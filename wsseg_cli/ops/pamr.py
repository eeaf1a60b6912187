"""Pixel-adaptive mask refinement (Araslanov & Roth 2020): averages with weights from the image."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DataError

DILATIONS = (1, 2, 4, 8, 12, 24)
"""Published radii in pixels of the neighbour rings."""
RING = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]


def pamr(
    images: Tensor,
    masks: Tensor,
    *,
    iterations: int = 10,
    dilations: Sequence[int] = DILATIONS,
    sigma: float = 0.1,
    eps: float = 1e-8,
) -> Tensor:
    """Return masks refined by `iterations` of m_i <- sum_j w_ij m_j (Araslanov & Roth 2020, eq. 7).

    images: (N, 3, H, W); scale and shift of a channel do not matter. masks: (N, C, h, w), resized to the image
    (bilinear, corners aligned) if smaller. Returns (N, C, H, W) float32, with a gradient unless under `torch.no_grad`.

    Raises:
        DataError: the numbers of images and masks differ, or a dilation or the iteration count is not valid.
    """
    if images.ndim != 4 or masks.ndim != 4 or len(images) != len(masks):
        raise DataError(
            f"PAMR takes images (N, 3, H, W) and masks (N, C, h, w); got {tuple(images.shape)} and {tuple(masks.shape)}"
        )
    if not dilations or min(dilations) < 1 or iterations < 0:
        raise DataError(f"PAMR has dilations {list(dilations)} and {iterations} iterations; expected from 1 and 0 up")
    # half precision underflows in eps
    images, masks = images.float(), masks.float()
    if masks.shape[1] and masks.shape[-2:] != images.shape[-2:]:
        masks = F.interpolate(masks, images.shape[-2:], mode="bilinear", align_corners=True)
    if masks.shape[1] == 0:
        return masks.new_zeros(len(images), 0, *images.shape[-2:])
    weights = pamr_affinity(images, dilations=dilations, sigma=sigma, eps=eps)
    for _ in range(iterations):
        refined = torch.zeros_like(masks)
        for k, moved in enumerate(rings(masks, dilations)):
            refined.addcmul_(weights[:, k : k + 1], moved)
        masks = refined
    return masks


def pamr_of(
    kept: Tensor, images: Tensor, masks: Tensor, *, iterations: int = 10, dilations: Sequence[int] = DILATIONS
) -> Tensor:
    """Return `pamr` of the masks (N, C, H, W) whose channel is kept, 0 for the others, which are not computed.

    kept: (N, C) bool. Each channel is refined by itself, so leaving some out changes no other.
    """
    most = int(kept.sum(1).max())
    order = kept.int().argsort(dim=1, descending=True, stable=True)[:, :most]
    index = order[:, :, None, None].expand(-1, -1, *masks.shape[-2:])
    refined = pamr(images, masks.gather(1, index), iterations=iterations, dilations=dilations)
    # an image with fewer channels than another gets some that it does not keep
    refined = refined * kept.gather(1, order)[:, :, None, None]
    return refined.new_zeros(masks.shape).scatter(1, index, refined)


def pamr_affinity(
    images: Tensor, *, dilations: Sequence[int] = DILATIONS, sigma: float = 0.1, eps: float = 1e-8
) -> Tensor:
    """Return the weights w_ij of every pixel's 8 neighbours at each dilation, summing to one, (N, 8 * D, H, W).

    Softmax over j of the channels' mean of -|I_i - I_j| / (eps + sigma * s_i), s the local spread of a channel
    (Araslanov & Roth 2020, eq. 5 with the published code's s in place of its square). Dilation by dilation, each ring
    row by row without the centre.
    """
    scale = eps + sigma * local_spread(images, dilations)
    return torch.stack([-((images - moved).abs() / scale).mean(1) for moved in rings(images, dilations)], 1).softmax(1)


def local_spread(images: Tensor, dilations: Sequence[int] = DILATIONS) -> Tensor:
    """Return the unbiased standard deviation of a channel over all rings and the centre once per ring, (N, 3, H, W)."""
    count = 9 * len(dilations)
    mean = torch.zeros_like(images)
    for sample in _samples(images, dilations):
        mean += sample / count
    squares = torch.zeros_like(images)
    for sample in _samples(images, dilations):
        squares += (sample - mean) ** 2
    return (squares / (count - 1)).sqrt()


def _samples(images: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    yield from rings(images, dilations)
    for _ in dilations:
        yield images


def rings(maps: Tensor, dilations: Sequence[int]) -> Iterator[Tensor]:
    """Yield the maps moved to each neighbour; positions outside take the nearest pixel inside."""
    height, width = maps.shape[-2:]
    for dilation in dilations:
        padded = F.pad(maps, (dilation,) * 4, mode="replicate")
        for dy, dx in RING:
            top, left = dilation * (1 + dy), dilation * (1 + dx)
            yield padded[..., top : top + height, left : left + width]
