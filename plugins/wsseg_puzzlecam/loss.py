"""The losses of PuzzleCAM: class maps of an image and of its tiles are to agree (Jo & Yu, ICIP 2021)."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from wsseg_cli.ops.cam import EPSILON

Distance = Literal["l1", "l2"]
"""The difference of two maps at a cell: absolute or squared."""

Counted = Literal["masked", "present", "all"]
"""What the mean is taken over: all elements, absent classes counting as zeros (published); the present classes of each
image, then the images; all elements as they are."""


def peak_normalised(maps: Tensor) -> Tensor:
    """Return relu(relu(x) - 1e-5) / (maximum over the pixels + 1e-5) of maps (N, C, h, w): PuzzleCAM's level "cam"."""
    rectified = maps.relu()
    return (rectified - EPSILON).relu() / (rectified.amax((2, 3), keepdim=True) + EPSILON)


def reconstruction(
    maps: Tensor, of_tiles: Tensor, labels: Tensor, *, distance: Distance = "l1", counted: Counted = "masked"
) -> Tensor:
    """Return the reconstruction loss (Jo & Yu, ICIP 2021, eq. 5); both sides get a gradient.

    maps: (N, C, h, w) of the whole images; of_tiles: those of their tiles, put together; labels: (N, C) multi-hot.
    """
    difference = maps - of_tiles
    difference = difference.abs() if distance == "l1" else difference.square()
    if counted == "all":
        return difference.mean()
    by_class = difference.mean((2, 3)) * labels
    if counted == "masked":
        return by_class.mean()
    return (by_class.sum(1) / labels.sum(1).clamp(min=1)).mean()


def tile_entropy(logits: Tensor) -> Tensor:
    """Return the mean over tiles of -sum_k p log(p + 1e-5), p the sigmoid of the tiles' class logits (M, C)."""
    p = logits.sigmoid()
    return -(p * torch.log(p + EPSILON)).sum(1).mean()


def alpha_at(step: int, max_steps: int, alpha: float = 4.0, rise: float = 0.5) -> float:
    """Return the weight of the reconstruction: linear up to `alpha`, reached after the share `rise` of the steps.

    step: counted from 0.
    """
    if rise == 0:
        return alpha
    return min(alpha * step / (rise * max_steps), alpha)
