"""Permutohedral lattice (Adams, Baek & Davis 2010) on the CPU: where points lie in it and which vertices are neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ...types import FloatArray
from .compiled import compiled

f32 = np.float32


@dataclass(frozen=True)
class Lattice:
    """Vertices of the simplices that hold the points, without what depends on the values filtered.

    Attributes:
        ids: (N, d+1) int32, the vertices of each point's simplex.
        weights: (N, d+1) float32, barycentric weights divided by the square root of the point's own filter response:
            splatting and slicing with them is the symmetrically normalised filter.
        neighbours: (d+1, M, 2) int32, both neighbours of a vertex along each axis; M where there is none.
    """

    ids: npt.NDArray[np.int32]
    weights: FloatArray
    neighbours: npt.NDArray[np.int32]

    @property
    def vertices(self) -> int:
        """Number M of vertices."""
        return int(self.neighbours.shape[1])

    @property
    def dimension(self) -> int:
        """Number d of features."""
        return int(self.neighbours.shape[0]) - 1


def build_lattice(features: FloatArray) -> Lattice:
    """Return the normalised lattice of points given by their features, each already divided by its width.

    features: (N, d) float32. The reference implementation works on blocks of four points and pads the last block with
    zeros; the simplex of these zeros conducts values between others, so it is added here as well.

    Raises:
        DataError: a feature is too large for the packed keys: its width is too small.
    """
    n, d = features.shape
    padded = features if n % 4 == 0 else np.concatenate([features, np.zeros((1, d), f32)])
    i = np.arange(d)
    scale = (np.sqrt(2.0 / 3.0) * (d + 1) / np.sqrt((i + 1.0) * (i + 2.0))).astype(f32)
    keys = np.empty((len(padded), d + 1), np.int64)
    weights = np.empty((len(padded), d + 1), f32)
    if _embed(np.ascontiguousarray(padded, f32), scale, keys, weights):
        raise DataError(
            f"features of the CRF reach {float(np.abs(features).max()):.0f} widths, too many for the lattice; "
            "make sxy or srgb larger"
        )
    ids, table_key, table_id, vertices = _number(keys)
    neighbours = _neighbours(vertices, table_key, table_id, d)
    ids, weights = ids[:n], weights[:n]
    _normalise(ids, weights, neighbours)
    return Lattice(ids, weights, neighbours)


@compiled
def _embed(features, scale, keys, bary):  # type: ignore[no-untyped-def]
    n, d = features.shape
    bits = 64 // d
    half = nb.int64(1) << (bits - 1)
    elevated = np.empty(d + 1, np.float32)
    origin = np.empty(d + 1, np.float32)
    rank = np.empty(d + 1, np.int32)
    b = np.empty(d + 2, np.float32)
    down = f32(1.0) / f32(d + 1)
    overflow = False
    for k in range(n):
        running = f32(0)
        for j in range(d, 0, -1):
            c = features[k, j - 1] * scale[j - 1]
            elevated[j] = running - f32(j) * c
            running += c
        elevated[0] = running
        total = 0
        for i in range(d + 1):
            v = np.rint(down * elevated[i])
            origin[i] = v * f32(d + 1)
            total += int(v)
            rank[i] = 0
        for i in range(d):
            distance = elevated[i] - origin[i]
            for j in range(i + 1, d + 1):
                if distance < elevated[j] - origin[j]:
                    rank[i] += 1
                else:
                    rank[j] += 1
        for i in range(d + 1):
            rank[i] += total
            if rank[i] < 0:
                rank[i] += d + 1
                origin[i] += f32(d + 1)
            elif rank[i] > d:
                rank[i] -= d + 1
                origin[i] -= f32(d + 1)
        for i in range(d + 2):
            b[i] = f32(0)
        for i in range(d + 1):
            v = (elevated[i] - origin[i]) * down
            b[d - rank[i]] += v
            b[d - rank[i] + 1] -= v
        b[0] += f32(1) + b[d + 1]
        for r in range(d + 1):
            key = nb.int64(0)
            for i in range(d):
                c = int(origin[i]) + r
                if rank[i] > d - r:
                    c -= d + 1
                if c < -half + 2 * d or c >= half - 2 * d:
                    overflow = True
                key = (key << bits) | (c + half)
            keys[k, r] = key
            bary[k, r] = b[r]
    return overflow


@nb.njit(inline="always")
def _slot(key, mask):  # type: ignore[no-untyped-def]
    mixed = nb.uint64(key) * nb.uint64(0x9E3779B97F4A7C15)
    return nb.int64((mixed >> nb.uint64(29)) & nb.uint64(mask))


@compiled
def _number(keys):  # type: ignore[no-untyped-def]
    """Number the distinct keys in order of appearance, which keeps vertices of nearby pixels near in memory."""
    n, d1 = keys.shape
    size = 1 << 16
    table_key = np.empty(size, np.int64)
    table_id = np.full(size, -1, np.int32)
    vertices = np.empty(size // 2 + 1, np.int64)
    ids = np.empty((n, d1), np.int32)
    m = 0
    for k in range(n):
        for r in range(d1):
            key = keys[k, r]
            if k > 0 and keys[k - 1, r] == key:
                ids[k, r] = ids[k - 1, r]
                continue
            h = _slot(key, size - 1)
            while table_id[h] >= 0 and table_key[h] != key:
                h = (h + 1) & (size - 1)
            if table_id[h] >= 0:
                ids[k, r] = table_id[h]
                continue
            table_key[h] = key
            table_id[h] = m
            vertices[m] = key
            ids[k, r] = m
            m += 1
            if 2 * m >= size:
                size *= 2
                table_key = np.empty(size, np.int64)
                table_id = np.full(size, -1, np.int32)
                more = np.empty(size // 2 + 1, np.int64)
                more[:m] = vertices[:m]
                vertices = more
                for i in range(m):
                    g = _slot(vertices[i], size - 1)
                    while table_id[g] >= 0:
                        g = (g + 1) & (size - 1)
                    table_key[g] = vertices[i]
                    table_id[g] = i
    return ids, table_key, table_id, vertices[:m].copy()


@compiled
def _neighbours(vertices, table_key, table_id, d):  # type: ignore[no-untyped-def]
    m = vertices.size
    mask = table_id.size - 1
    bits = 64 // d
    ones = nb.int64(0)
    for _ in range(d):
        ones = (ones << bits) | nb.int64(1)
    out = np.empty((d + 1, m, 2), np.int32)
    for j in range(d + 1):
        # -1 in every coordinate but +d along axis j; the last axis has no coordinate of its own in the key
        step = -ones
        if j < d:
            step += nb.int64(d + 1) << (bits * (d - 1 - j))
        for i in range(m):
            for side in range(2):
                key = vertices[i] + step if side == 0 else vertices[i] - step
                h = _slot(key, mask)
                while table_id[h] >= 0 and table_key[h] != key:
                    h = (h + 1) & mask
                out[j, i, side] = table_id[h] if table_id[h] >= 0 else m
    return out


@compiled
def _normalise(ids, weights, neighbours):  # type: ignore[no-untyped-def]
    """Divide the weights of each point by the square root of the filter's response to ones (in place)."""
    n, d1 = ids.shape
    m = neighbours.shape[1]
    old = np.zeros(m + 1, np.float32)
    new = np.zeros(m + 1, np.float32)
    for k in range(n):
        for r in range(d1):
            old[ids[k, r]] += weights[k, r]
    for j in range(d1):
        for v in range(m):
            new[v] = old[v] + f32(0.5) * (old[neighbours[j, v, 0]] + old[neighbours[j, v, 1]])
        old, new = new, old
    for k in range(n):
        response = f32(0)
        for r in range(d1):
            response += weights[k, r] * old[ids[k, r]]
        root = f32(1) / np.sqrt(response + f32(1e-20))
        for r in range(d1):
            weights[k, r] *= root
