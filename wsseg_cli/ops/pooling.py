"""From class maps to class scores: the global average, and which cells lie in the unpadded part of a crop."""

from __future__ import annotations

import torch
from torch import Tensor


def global_average(maps: Tensor) -> Tensor:
    """Return the mean over the pixels, (N, C), of maps (N, C, h, w) (GAP; Zhou et al., CVPR 2016)."""
    return maps.mean((2, 3))


def cells_in_boxes(boxes: Tensor, image_size: int, size: tuple[int, int]) -> Tensor:
    """Return which cells of a grid of `size` (h, w) lie in the unpadded part of each crop, (N, h, w) bool.

    boxes: (N, 4) pixels xmin, ymin, xmax, ymax of the image inside its padded crop, ends exclusive; image_size: side of
    the crop. Every end v maps to floor(v / image_size * side of the map); a box that would be empty keeps one cell.
    """
    height, width = size
    cells = torch.tensor([width, height, width, height], dtype=torch.float64, device=boxes.device)
    left, top, right, bottom = (boxes.double() / image_size * cells).floor().long().unbind(1)
    columns = torch.arange(width, device=boxes.device)
    rows = torch.arange(height, device=boxes.device)
    left, top = left.clamp(max=width - 1), top.clamp(max=height - 1)
    right, bottom = torch.maximum(right, left + 1), torch.maximum(bottom, top + 1)
    inside_x = (columns >= left[:, None]) & (columns < right[:, None])
    inside_y = (rows >= top[:, None]) & (rows < bottom[:, None])
    return inside_y[:, :, None] & inside_x[:, None, :]
