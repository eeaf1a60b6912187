"""Class maps inside their crops: which cells show the image, and maps scaled to a peak of one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg_cli.ops.cam import EPSILON
from wsseg_cli.ops.pooling import cells_in_boxes


def to_one(maps: Tensor) -> Tensor:
    """Return maps (N, C, h, w), each divided by its own maximum + 1e-5; the gradient goes through the maximum too."""
    return maps / (maps.amax((2, 3), keepdim=True) + EPSILON)


def seed_maps(cams: Tensor, labels: Tensor, inside: Tensor) -> Tensor:
    """Return the class maps as seeds, (N, C, h, w) in [0, 1]: ReLU, 0 outside, each over its maximum, absent classes 0.

    cams: (N, C, h, w) raw; labels: (N, C) multi-hot; inside: (N, h, w) bool. Outside is cleared before the maximum:
    otherwise a peak in the padding could leave a present class without a seed.
    """
    return to_one(cams.relu() * inside[:, None]) * labels[:, :, None, None]


def whole_boxes(images: Tensor) -> Tensor:
    """Return the boxes (N, 4) int64 of crops (N, 3, H, W) without padding."""
    height, width = images.shape[2:]
    return torch.tensor([[0, 0, width, height]], device=images.device).expand(len(images), 4)


def inside_boxes(boxes: Tensor, images: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which cells of a grid are in the unpadded part of each crop, (N, h, w) bool; size: (h, w)."""
    return cells_in_boxes(boxes, images.shape[-1], size)


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (N, C, h, w) at `size`, bilinear, corners not aligned."""
    return maps if maps.shape[-2:] == size else F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
