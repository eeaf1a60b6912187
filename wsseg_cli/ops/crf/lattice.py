"""Permutohedral lattice (Adams, Baek & Davis 2010) on the CPU: vertices, neighbours, normalised weights of points."""

from __future__ import annotations

from dataclasses import dataclass

import numba as nb
import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ...types import FloatArray
from .compiled import compiled
from .embedding import WIDE, embed, key_bits

f32 = np.float32


@dataclass(frozen=True)
class Lattice:
    """Vertices of the simplices that hold the points, without anything that depends on the filtered values.

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
    def nbytes(self) -> int:
        """Number of bytes held."""
        return self.ids.nbytes + self.weights.nbytes + self.neighbours.nbytes


def build_lattice(features: FloatArray) -> Lattice:
    """Return the normalised lattice of points given by their features, each already divided by its width.

    features: (d, N) float32. The reference implementation works on blocks of four points and pads the last one with
    zeros; the simplex of these zeros conducts values between its neighbours, so it is included here as well.

    Raises:
        DataError: a feature is too large for the packed keys: its width is too small.
    """
    d, n = features.shape
    padded = np.zeros((d, -(-n // WIDE) * WIDE), f32)
    padded[:, :n] = features
    embedded = embed(padded)
    if embedded is None:
        raise DataError(
            f"features of the CRF reach {float(np.abs(features).max()):.0f} widths, too many for the lattice; "
            "make sxy or srgb larger"
        )
    keys, weights = embedded
    blocks_of_four = -(-n // 4) * 4
    ids, table, vertices = _number(keys[:blocks_of_four])
    neighbours = _neighbours(vertices, table, d, key_bits(d))
    lattice = Lattice(ids[:n], weights[:n], neighbours)
    _normalise(lattice.ids, lattice.weights, neighbours)
    return lattice


@nb.njit(inline="always")
def _slot(key, mask):
    mixed = nb.uint64(key) * nb.uint64(0x9E3779B97F4A7C15)
    return nb.int64((mixed >> nb.uint64(32)) & nb.uint64(mask))


@compiled
def _number(keys):
    """Number the distinct keys in order of appearance, which keeps vertices of nearby pixels close in memory.

    Returns ids as `keys`, an open-addressing table of ids (-1: free), and the keys by id.
    """
    n, corners = keys.shape
    size = 1 << 12
    table = np.full(size, -1, np.int32)
    vertices = np.empty(size, np.int64)
    ids = np.empty((n, corners), np.int32)
    m = 0
    for k in range(n):
        for r in range(corners):
            key = keys[k, r]
            if k > 0 and keys[k - 1, r] == key:
                ids[k, r] = ids[k - 1, r]
                continue
            h = _slot(key, size - 1)
            while table[h] >= 0 and vertices[table[h]] != key:
                h = (h + 1) & (size - 1)
            if table[h] >= 0:
                ids[k, r] = table[h]
                continue
            table[h] = m
            vertices[m] = key
            ids[k, r] = m
            m += 1
            if 2 * m >= size:
                size *= 2
                table = np.full(size, -1, np.int32)
                more = np.empty(size, np.int64)
                more[:m] = vertices[:m]
                vertices = more
                for i in range(m):
                    g = _slot(vertices[i], size - 1)
                    while table[g] >= 0:
                        g = (g + 1) & (size - 1)
                    table[g] = i
    return ids, table, vertices[:m].copy()


@compiled
def _neighbours(vertices, table, d, bits):
    m = vertices.size
    mask = table.size - 1
    ones = nb.int64(0)
    for _ in range(d):
        ones = (ones << bits) | nb.int64(1)
    out = np.full((d + 1, m, 2), m, np.int32)
    for j in range(d + 1):
        # -1 in every coordinate but +d along axis j; the last axis has no coordinate of its own in the key
        step = -ones
        if j < d:
            step += nb.int64(d + 1) << (bits * (d - 1 - j))
        for i in range(m):
            key = vertices[i] + step
            h = _slot(key, mask)
            while table[h] >= 0 and vertices[table[h]] != key:
                h = (h + 1) & mask
            if table[h] >= 0:
                out[j, i, 0] = table[h]
                out[j, table[h], 1] = i
    return out


@compiled
def _normalise(ids, weights, neighbours):
    """Divide the weights of each point by the square root of the filter's response to ones (in place)."""
    n, corners = ids.shape
    m = neighbours.shape[1]
    old = np.zeros(m + 1, np.float32)
    new = np.zeros(m + 1, np.float32)
    for k in range(n):
        for r in range(corners):
            old[ids[k, r]] += weights[k, r]
    for j in range(corners):
        for v in range(m):
            new[v] = old[v] + f32(0.5) * (old[neighbours[j, v, 0]] + old[neighbours[j, v, 1]])
        old, new = new, old
    for k in range(n):
        response = f32(0)
        for r in range(corners):
            response += weights[k, r] * old[ids[k, r]]
        root = f32(1) / np.sqrt(response + f32(1e-20))
        for r in range(corners):
            weights[k, r] *= root
