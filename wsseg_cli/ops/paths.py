"""Straight paths between neighbouring cells, and affinities that an edge on the path cuts (IRN)."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from ..errors import DataError
from .affinity import Border, Offset, Pairs, pair_offsets

Path = tuple[Offset, ...]


@lru_cache(maxsize=8)
def offset_paths(radius: int) -> tuple[Path, ...]:
    """Return the path of every direction of `pair_offsets`, the short ones first, PSA's order within a length.

    A path holds the cells (y, x) of the rectangle from (0, 0) to (dy, dx) that lie closer than one cell to the straight
    line, both ends included, the far end first (Ahn, Cho & Kwak 2019). Its first cell is the offset.
    """
    return tuple(sorted((_path(dy, dx) for dy, dx in pair_offsets(radius)), key=len))


def _path(dy: int, dx: int) -> Path:
    cells = [
        (y, x)
        for y in range(min(dy, 0), max(dy, 0) + 1)
        for x in range(min(dx, 0), max(dx, 0) + 1)
        if (dy * x - dx * y) ** 2 < dy * dy + dx * dx
    ]
    return tuple(sorted(cells, key=lambda cell: -abs(cell[0]) - abs(cell[1])))


def path_pairs(size: tuple[int, int], radius: int, border: Border = "reference") -> Pairs:
    """Return the pairs of a grid (h, w) within `radius` in the order of `offset_paths`."""
    return Pairs(size, radius, tuple(path[0] for path in offset_paths(radius)), border)


def path_affinity(edge: Tensor, pairs: Pairs) -> Tensor:
    """Return a_ij = 1 - max of the edge along the path from i to j, (N, P) (Ahn, Cho & Kwak 2019).

    edge: (N, h, w) probability of a class boundary in [0, 1]; pairs: from `path_pairs`.

    Raises:
        DataError: the edge map and the pairs differ in size.
    """
    if edge.ndim != 3 or tuple(edge.shape[-2:]) != tuple(pairs.size):
        raise DataError(f"edge map of shape {tuple(edge.shape)} for pairs of a grid {tuple(pairs.size)}")
    paths = {path[0]: path for path in offset_paths(pairs.radius)}
    parts = []
    for offset, window in pairs.windows():
        # .max picks one of equal cells, as the published pooling does; torch.amax would split the gradient
        cells = torch.stack([pairs.cut(edge, window, cell) for cell in paths[offset]])
        parts.append(1 - cells.max(0).values)
    return torch.cat(parts, -1) if parts else edge.new_zeros(len(edge), 0)
