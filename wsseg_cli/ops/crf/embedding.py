"""Where points lie in the permutohedral lattice: packed keys of their simplices' vertices and barycentric weights."""

from __future__ import annotations

import numba as nb
import numpy as np
import numpy.typing as npt

from ...types import FloatArray
from .compiled import compiled, inlined
from .vectors import full, less, load, nearest, store

f32 = np.float32
WIDE = 8
"""Points embedded together."""


def key_bits(dimension: int) -> int:
    """Return the number of bits per coordinate of a packed vertex key."""
    return 64 // dimension


def embed(features: FloatArray) -> tuple[npt.NDArray[np.int64], FloatArray] | None:
    """Return the vertices' keys (N, d+1) and barycentric weights (N, d+1) of N points; None if a key does not fit.

    features: (d, N) float32, N a multiple of `WIDE`. Adams et al. 2010, section 3.1. A key packs the first d of d + 1
    coordinates, which sum to zero.
    """
    d, n = features.shape
    i = np.arange(d)
    scale = (np.sqrt(2.0 / 3.0) * (d + 1) / np.sqrt((i + 1.0) * (i + 2.0))).astype(f32)
    keys = np.empty((n, d + 1), np.int64)
    weights = np.empty((n, d + 1), f32)
    fits = _embed(np.ascontiguousarray(features, f32).ravel(), scale, key_bits(d), keys, weights)
    return (keys, weights) if fits else None


@inlined
def _rank(gap, rank, corners):
    """Add to each coordinate's rank the number of larger gaps; among equal ones the first is ranked last."""
    for i in range(corners - 1):
        a = load(gap, i * WIDE, WIDE)
        above = load(rank, i * WIDE, WIDE)
        for j in range(i + 1, corners):
            smaller = less(a, load(gap, j * WIDE, WIDE))
            above = above + smaller
            store(rank, j * WIDE, load(rank, j * WIDE, WIDE) + (full(f32(1), WIDE) - smaller))
        store(rank, i * WIDE, above)


@compiled
def _embed(features, scale, bits, keys, weights):
    n, corners = keys.shape
    d = corners - 1
    # one row of WIDE numbers per coordinate
    gap = np.empty(corners * WIDE, np.float32)
    origin = np.empty(corners * WIDE, np.float32)
    rank = np.empty(corners * WIDE, np.float32)
    sorted_gap = np.empty((corners + 1) * WIDE, np.float32)
    half = nb.int64(1) << (bits - 1)
    ones = nb.int64(0)
    unit = np.zeros(corners, np.int64)
    for i in range(d):
        ones = (ones << bits) | nb.int64(1)
        unit[i] = nb.int64(1) << (bits * (d - 1 - i))
    axis_of_rank = np.empty(corners, np.int64)
    down, up = f32(1) / f32(corners), f32(corners)
    limit = f32(half - 2 * corners)
    fits = True
    for start in range(0, n, WIDE):
        running = full(f32(0), WIDE)
        for j in range(d, 0, -1):
            c = load(features, (j - 1) * n + start, WIDE) * scale[j - 1]
            store(gap, j * WIDE, running - c * f32(j))
            running = running + c
        store(gap, 0, running)
        steps = full(f32(0), WIDE)
        for i in range(corners):
            elevated = load(gap, i * WIDE, WIDE)
            v = nearest(elevated * down)
            steps = steps + v
            store(origin, i * WIDE, v * up)
            store(gap, i * WIDE, elevated - v * up)
            store(rank, i * WIDE, full(f32(0), WIDE))
        _rank(gap, rank, corners)
        for i in range(corners):
            # the coordinates must sum to zero: the ones furthest from their multiple of d + 1 move by one multiple
            r = load(rank, i * WIDE, WIDE) + steps
            turn = (less(r, full(f32(0), WIDE)) - less(full(f32(d), WIDE), r)) * up
            store(rank, i * WIDE, r + turn)
            store(origin, i * WIDE, load(origin, i * WIDE, WIDE) + turn)
            store(gap, i * WIDE, (load(gap, i * WIDE, WIDE) - turn) * down)
        for lane in range(WIDE):
            k = start + lane
            key = nb.int64(0)
            for i in range(corners):
                at = i * WIDE + lane
                place = int(rank[at])
                axis_of_rank[place] = i
                sorted_gap[place] = gap[at]
                if abs(origin[at]) > limit and i < d:
                    fits = False
                key += (int(origin[at]) + half) * unit[i]
            keys[k, 0] = key
            weights[k, 0] = sorted_gap[d] + (f32(1) - sorted_gap[0])
            for r in range(1, corners):
                weights[k, r] = sorted_gap[d - r] - sorted_gap[corners - r]
                key += ones - nb.int64(corners) * unit[axis_of_rank[corners - r]]
                keys[k, r] = key
    return fits
