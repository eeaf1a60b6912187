"""Random walks of class scores along affinities: sparse products with the present classes' columns, never a power.

The published code squares a dense (hw, hw) matrix log2(t) times. T^t is only wanted times a few score columns, so t
sparse products give the same numbers with a hundredth of the work and memory.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import DataError
from .affinity import Pairs
from .paths import path_affinity, path_pairs


@dataclass(frozen=True)
class _Structure:
    """Places of the non-zero entries of a symmetric matrix with the given pairs and a unit diagonal, as CSR.

    `entries` says where each value stands in [pair affinities, 1]; `rows` is the row of each value.
    """

    starts: Tensor
    columns: Tensor
    rows: Tensor
    entries: Tensor


@lru_cache(maxsize=16)
def _structure(pairs: Pairs) -> _Structure:
    cells = pairs.size[0] * pairs.size[1]
    one, other = pairs.index()
    diagonal = torch.arange(cells)
    number = torch.arange(len(one))
    rows = torch.cat([one, other, diagonal])
    columns = torch.cat([other, one, diagonal])
    entries = torch.cat([number, number, torch.full((cells,), len(one))])
    order = torch.argsort(rows * cells + columns)
    rows = rows[order]
    starts = torch.zeros(cells + 1, dtype=torch.int64)
    starts[1:] = torch.bincount(rows, minlength=cells).cumsum(0)
    return _Structure(starts.int(), columns[order].int(), rows, entries[order])


def transition_matrix(affinity: Tensor, pairs: Pairs, beta: float) -> Tensor:
    """Return the transposed transition matrix T' of a walk, (hw, hw) float64 sparse CSR, rows sum to 1.

    T = W / column sums with W = A ** beta elementwise and A the symmetric affinity with unit diagonal (Ahn & Kwak
    2018, eq. 3). affinity: (P,) of `pairs`, in [0, 1]; beta: sharpens, > 0.

    Raises:
        DataError: an affinity is negative or not finite, their number is wrong, or beta is not positive.
    """
    if not 0 < beta < float("inf"):
        raise DataError(f"beta of a random walk is {beta}; expected a positive number (0 would link all cells alike)")
    s = _structure(pairs)
    if affinity.ndim != 1 or 2 * len(affinity) + len(s.starts) - 1 != len(s.columns):
        raise DataError(f"{tuple(affinity.shape)} affinities for {(len(s.columns) - len(s.starts) + 1) // 2} pairs")
    if not bool(((affinity >= 0) & torch.isfinite(affinity)).all()):
        raise DataError("affinities of a random walk are negative or not finite; look for the network that made them")
    device = affinity.device
    weights = torch.cat([affinity.detach().double() ** beta, torch.ones(1, dtype=torch.float64, device=device)])
    values, rows = weights[s.entries.to(device)], s.rows.to(device)
    cells = len(s.starts) - 1
    # W is symmetric: the sum of a column is the sum of the row
    sums = torch.zeros(cells, dtype=torch.float64, device=device).index_add_(0, rows, values)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")
        return torch.sparse_csr_tensor(
            s.starts.to(device), s.columns.to(device), values / sums[rows], (cells, cells), check_invariants=False
        )


def random_walk(scores: Tensor, transition: Tensor, steps: int) -> Tensor:
    """Return scores after `steps` steps, (K, h, w): scores @ T^steps (Ahn & Kwak 2018, eq. 4).

    scores: (K, h, w), one map a class, only those present; transition: from `transition_matrix`. Each new score is a
    weighted mean of old ones, so negative scores are allowed and no value leaves their range.

    Raises:
        DataError: scores are not finite, of another grid, or steps is negative.
    """
    if scores.ndim != 3 or scores.shape[1] * scores.shape[2] != transition.shape[0]:
        raise DataError(f"scores of shape {tuple(scores.shape)} for a walk over {transition.shape[0]} cells")
    if steps < 0:
        raise DataError(f"a random walk of {steps} steps; expected 0 or more")
    if not bool(torch.isfinite(scores).all()):
        raise DataError("scores of a random walk are NaN or infinite; look for the file or network that made them")
    columns = scores.detach().flatten(1).T.contiguous().to(transition.dtype)
    if columns.shape[1]:
        for _ in range(steps):
            columns = transition @ columns
    return columns.T.reshape(scores.shape).to(scores.dtype)


def walk_radius(size: tuple[int, int], radius: int = 5) -> int:
    """Return the radius that SEAM and PPC take on a grid (h, w): smaller where a side is below 11, except at 56x56."""
    shorter = min(size)
    return (shorter - 1) // 2 if shorter < 11 else radius


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
    """Return scores walked around edges, (K, h, w) (Ahn, Cho & Kwak 2019, eqs. 8 and 9), not yet normalised.

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
