"""Random walks of class scores along affinities: sparse products with the present classes' columns, never a power.

The published code squares a dense (hw, hw) matrix log2(t) times. T^t is only needed times a few score columns, so t
sparse products give the same numbers with a hundredth of the work and memory.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DataError
from .affinity import Pairs
from .paths import path_affinity, path_pairs


@dataclass(frozen=True)
class _Structure:
    """Places of the non-zero entries of a symmetric matrix with the given pairs and a unit diagonal, as CSR.

    `entries` gives the index of each value in [pair affinities, 1].
    """

    starts: Tensor
    columns: Tensor
    entries: Tensor


@lru_cache(maxsize=16)
def _structure(pairs: Pairs) -> _Structure:
    h, w = pairs.size
    count = h * w
    # one column for each direction, its opposite and the diagonal, from the lowest neighbour to the highest: read row
    # by row it is the matrix in CSR order, without a sort
    signed = [(dy, dx) for dy, dx in pairs.offsets] + [(-dy, -dx) for dy, dx in pairs.offsets] + [(0, 0)]
    place = {offset: column for column, offset in enumerate(sorted(signed))}
    entry = np.full((h, w, len(signed)), -1, np.int32)
    number = 0
    for (dy, dx), (top, bottom, left, right) in pairs.windows():
        size = max(0, bottom - top) * max(0, right - left)
        numbers = np.arange(number, number + size, dtype=np.int32).reshape(bottom - top, right - left)
        entry[top:bottom, left:right, place[dy, dx]] = numbers
        entry[top + dy : bottom + dy, left + dx : right + dx, place[-dy, -dx]] = numbers
        number += size
    entry[:, :, place[0, 0]] = number
    there = entry >= 0
    starts = np.concatenate([[0], there.reshape(count, -1).sum(1).cumsum()]).astype(np.int32)
    entries = entry[there]
    steps = np.array([dy * w + dx for dy, dx in sorted(signed)], np.int32)
    columns = np.add(np.arange(count, dtype=np.int32).reshape(h, w, 1), steps, out=entry)[there]
    return _Structure(torch.from_numpy(starts), torch.from_numpy(columns), torch.from_numpy(entries))


@dataclass(frozen=True)
class Transition:
    """One step of a walk: T = W / column sums (Ahn & Kwak 2018).

    Attributes:
        weights: W = A ** beta elementwise, (hw, hw) float64 sparse CSR, A the symmetric affinity with unit diagonal.
        sums: (hw, 1) sums of W's columns, which equal those of its rows.
    """

    weights: Tensor
    sums: Tensor

    @property
    def cells(self) -> int:
        """Number of cells of the grid."""
        return len(self.sums)

    def step(self, columns: Tensor) -> Tensor:
        """Return T' @ columns for columns (hw, K): one step for K score maps."""
        return (self.weights @ columns).div_(self.sums)


def transition_matrix(affinity: Tensor, pairs: Pairs, beta: float) -> Transition:
    """Return the transition matrix of a walk.

    affinity: (P,) of `pairs`, in [0, 1]; beta: > 0, sharpens them.

    Raises:
        DataError: an affinity is negative or not finite, their number is wrong, or beta is not positive.
    """
    if not 0 < beta < float("inf"):
        raise DataError(f"beta of a random walk is {beta}; expected a positive number (0 would link all cells alike)")
    s = _structure(pairs)
    cells = len(s.starts) - 1
    number = (len(s.columns) - cells) // 2
    if tuple(affinity.shape) != (number,):
        raise DataError(f"{tuple(affinity.shape)} affinities for {number} pairs of a grid {pairs.size}")
    if number and not (float(affinity.min()) >= 0 and float(affinity.max()) < float("inf")):
        raise DataError("affinities of a random walk are negative or not finite; look for the network that made them")
    device = affinity.device
    weights = torch.ones(number + 1, dtype=torch.float64, device=device)
    weights[:-1] = affinity.detach()
    weights[:-1].pow_(beta)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")
        matrix = torch.sparse_csr_tensor(
            s.starts.to(device),
            s.columns.to(device),
            weights.index_select(0, s.entries.to(device)),
            (cells, cells),
            check_invariants=False,
        )
    return Transition(matrix, matrix @ torch.ones(cells, 1, dtype=torch.float64, device=device))


def random_walk(scores: Tensor, transition: Transition, steps: int) -> Tensor:
    """Return scores after `steps` steps, (K, h, w): scores @ T^steps (Ahn & Kwak 2018).

    scores: (K, h, w), one map per present class; transition: from `transition_matrix`. Each new score is a
    weighted mean of old ones, so negative scores are allowed and no value leaves their range.

    Raises:
        DataError: scores are not finite or have another grid, or steps is negative.
    """
    if scores.ndim != 3 or scores.shape[1] * scores.shape[2] != transition.cells:
        raise DataError(f"scores of shape {tuple(scores.shape)} for a walk over {transition.cells} cells")
    if steps < 0:
        raise DataError(f"a random walk of {steps} steps; expected 0 or more")
    if not bool(torch.isfinite(scores).all()):
        raise DataError("scores of a random walk are NaN or infinite; look for the file or network that made them")
    columns = scores.detach().flatten(1).T.contiguous().to(transition.sums.dtype)
    if columns.shape[1]:
        for _ in range(steps):
            columns = transition.step(columns)
    return columns.T.reshape(scores.shape).to(scores.dtype)


def walk_radius(size: tuple[int, int], radius: int = 5) -> int:
    """Return the radius that SEAM and PPC take on a grid (h, w): smaller where a side is below 11, except at 56x56."""
    shorter = min(size)
    return min(radius, (shorter - 1) // 2) if shorter < 11 else radius


def pooled(scores: Tensor, stride: int = 8) -> Tensor:
    """Return scores padded with 0 at the right and bottom to multiples of `stride`, then mean-pooled: (K, h, w).

    scores: (K, H, W). Cells at the border hold fewer pixels and come out weaker, as published.
    """
    height, width = scores.shape[-2:]
    padded = F.pad(scores, (0, -width % stride, 0, -height % stride))
    return F.avg_pool2d(padded[None], stride)[0] if len(scores) else padded[:, ::stride, ::stride]


def enlarged(scores: Tensor, stride: int = 8) -> Tensor:
    """Return scores (K, h, w) times `stride` in both directions, bilinear, align_corners=False; the caller crops."""
    if not len(scores):
        return scores.new_zeros(0, scores.shape[1] * stride, scores.shape[2] * stride)
    return F.interpolate(scores[None], scale_factor=stride, mode="bilinear", align_corners=False)[0]


def edge_walk(scores: Tensor, edge: Tensor, *, radius: int = 5, beta: float = 10.0, steps_log2: int = 8) -> Tensor:
    """Return scores walked around edges, (K, h, w) (Ahn, Cho & Kwak 2019), not yet normalised.

    scores: (K, h, w) without background; edge: (h, w) boundary probability in [0, 1]. All pairs inside the grid count;
    scores are damped by 1 - edge first. beta: as in `transition_matrix`; steps: 2 ** steps_log2.

    Raises:
        DataError: sizes differ, a value is not finite, an edge lies outside [0, 1], or beta is not positive.
    """
    if tuple(scores.shape[-2:]) != tuple(edge.shape):
        raise DataError(f"scores of size {tuple(scores.shape[-2:])} and an edge map of {tuple(edge.shape)}")
    pairs = path_pairs((int(edge.shape[0]), int(edge.shape[1])), radius, "full")
    transition = transition_matrix(path_affinity(edge[None], pairs)[0], pairs, beta)
    return random_walk(scores * (1 - edge), transition, 2**steps_log2)
