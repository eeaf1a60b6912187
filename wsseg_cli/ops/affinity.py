"""Pairs of neighbouring cells of a grid, their affinities from features or edges, their labels and the losses.

Paths between cells and the walk along affinities are in `paths` and `random_walk`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from ..errors import DataError

Border = Literal["reference", "full"]
"""Which pairs of a grid count: those whose source leaves radius - 1 cells free at the left, right and lower border, as
published (PSA; ten cells of a large grid then have no neighbour at radius 5), or all inside the grid (IRN)."""

Offset = tuple[int, int]
MeanOverProcesses = Callable[[Tensor], Tensor]
"""Returns the mean of a tensor over all training processes; None if there is one process."""


@dataclass(frozen=True)
class Pairs:
    """All pairs (cell, cell + offset) of a grid, direction by direction, sources in raster order.

    Attributes:
        size: (h, w) of the grid.
        radius: PSA's gamma; offsets are shorter than it.
        offsets: (dy, dx) of each direction.
        border: which sources count.
    """

    size: tuple[int, int]
    radius: int
    offsets: tuple[Offset, ...]
    border: Border = "reference"

    def windows(self) -> Iterator[tuple[Offset, tuple[int, int, int, int]]]:
        """Yield each offset with its sources' rows and columns (top, bottom, left, right), ends exclusive."""
        h, w = self.size
        reach = self.radius - 1
        for dy, dx in self.offsets:
            if self.border == "reference":
                window = 0, max(0, h - reach), reach, max(reach, w - reach)
            else:
                window = 0, max(0, h - dy), max(0, -dx), max(max(0, -dx), w - max(0, dx))
            yield (dy, dx), window

    def cut(self, maps: Tensor, window: tuple[int, int, int, int], offset: Offset = (0, 0)) -> Tensor:
        """Return maps (..., h, w) at the window moved by the offset, (..., n), without leaving the grid."""
        (top, bottom, left, right), (dy, dx) = window, offset
        return maps[..., top + dy : bottom + dy, left + dx : right + dx].flatten(-2)

    def index(self) -> Tensor:
        """Return the flat positions of both ends of every pair, (2, P) int64."""
        h, w = self.size
        cells = torch.arange(h * w).view(h, w)
        ends = [torch.stack([self.cut(cells, box), self.cut(cells, box, offset)]) for offset, box in self.windows()]
        return torch.cat(ends, 1) if ends else torch.zeros(2, 0, dtype=torch.int64)


def pair_offsets(radius: int) -> tuple[Offset, ...]:
    """Return the directions (dy, dx) of half the neighbourhood dy^2 + dx^2 < radius^2, in PSA's order.

    34 directions at radius 5, 152 at 10; none below radius 2.
    """
    reach = radius - 1
    first_row = [(0, dx) for dx in range(1, radius)]
    others = [(dy, dx) for dy in range(1, radius) for dx in range(-reach, radius) if dy * dy + dx * dx < radius**2]
    return tuple(first_row + others)


def neighbour_pairs(size: tuple[int, int], radius: int, border: Border = "reference") -> Pairs:
    """Return the pairs of a grid (h, w) within `radius` in PSA's order (Ahn & Kwak 2018).

    A grid with fewer than `radius` rows or 2 radius - 1 columns has no pair under the published border.
    """
    return Pairs(size, radius, pair_offsets(radius), border)


def feature_affinity(features: Tensor, pairs: Pairs) -> Tensor:
    """Return a_ij = exp(-mean_d |f_i - f_j|), (N, P) in (0, 1] (Ahn & Kwak 2018).

    features: (N, D, h, w).

    Raises:
        DataError: the features and the pairs differ in size.
    """
    _same_size(features, pairs, "features")
    parts = [
        (pairs.cut(features, window) - pairs.cut(features, window, offset)).abs().mean(1)
        for offset, window in pairs.windows()
    ]
    return torch.exp(-torch.cat(parts, -1)) if parts else features.new_zeros(len(features), 0)


@dataclass(frozen=True)
class PairLabels:
    """What is known about each pair, as three (..., P) float tensors of 0 and 1: both ends are `background`, both have
    one `foreground` class, or they have two different labels (`negative`).
    """

    background: Tensor
    foreground: Tensor
    negative: Tensor


def pair_labels(mask: Tensor, pairs: Pairs, first_ignored: int = 255) -> PairLabels:
    """Return the labels of all pairs of a label map.

    mask: (..., h, w) integers, 0 background; values from `first_ignored` up are unknown, and so is every pair that
    contains one.

    Raises:
        DataError: the mask and the pairs differ in size.
    """
    _same_size(mask, pairs, "label map")
    mask = mask.long()
    ends = [(pairs.cut(mask, box), pairs.cut(mask, box, offset)) for offset, box in pairs.windows()]
    one = torch.cat([end[0] for end in ends], -1) if ends else mask.new_zeros(*mask.shape[:-2], 0)
    other = torch.cat([end[1] for end in ends], -1) if ends else one
    known = (one < first_ignored) & (other < first_ignored)
    same = known & (one == other)
    return PairLabels((same & (one == 0)).float(), (same & (one > 0)).float(), (known & (one != other)).float())


@dataclass(frozen=True)
class AffinityLoss:
    """The three means of an affinity loss and the number of pairs behind each, (…) scalars.

    Attributes:
        background: mean -log(a + eps) over pairs of background.
        foreground: the same over pairs inside one class.
        negative: mean -log(1 + eps - a) over pairs across a boundary.
        counts: (3,) number of pairs, in this order; the mean over the processes.
    """

    background: Tensor
    foreground: Tensor
    negative: Tensor
    counts: Tensor

    @property
    def total(self) -> Tensor:
        """L_bg / 4 + L_fg / 4 + L_neg / 2."""
        return self.background / 4 + self.foreground / 4 + self.negative / 2


def affinity_loss(
    affinity: Tensor, labels: PairLabels, mean_over_processes: MeanOverProcesses | None = None, eps: float = 1e-5
) -> AffinityLoss:
    """Return the loss of AffinityNet (Ahn & Kwak 2018), sums and counts over the whole batch.

    affinity: (N, P) in [0, 1]; labels: (N, P). mean_over_processes: averages the counts of a batch that is spread over
    several processes; averaging the gradients over the processes then gives the gradient of the whole batch's loss, as
    published. An empty group of pairs gives 0.
    """
    positive = -torch.log(affinity + eps)
    negative = -torch.log(1 + eps - affinity)
    counts = torch.stack([labels.background.sum(), labels.foreground.sum(), labels.negative.sum()])
    if mean_over_processes is not None:
        counts = mean_over_processes(counts)
    background, foreground, across = (
        (values * chosen).sum() / (count + eps)
        for values, chosen, count in zip(
            (positive, positive, negative),
            (labels.background, labels.foreground, labels.negative),
            counts,
            strict=True,
        )
    )
    return AffinityLoss(background, foreground, across, counts)


def _same_size(maps: Tensor, pairs: Pairs, what: str) -> None:
    if tuple(maps.shape[-2:]) != tuple(pairs.size):
        raise DataError(f"{what} of size {tuple(maps.shape[-2:])} for pairs of a grid {tuple(pairs.size)}")
