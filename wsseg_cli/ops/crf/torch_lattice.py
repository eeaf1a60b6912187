"""Dense CRF in torch, for CUDA devices: the same lattice as on the CPU, built by sorting and filtered by gathering.

Every filter step is one weighted gather (`embedding_bag`), the splat included: its terms are sorted by vertex once, so
results do not depend on the order of atomic additions.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from ...errors import DataError
from ...types import ByteArray, FloatArray
from .features import appearance_features, position_features
from .presets import CrfParameters


@torch.no_grad()
def torch_mean_field(
    image: ByteArray, unary: FloatArray, copies: npt.NDArray[np.int64], parameters: CrfParameters, device: str
) -> FloatArray:
    """Return the marginals (L, N) after mean-field steps.

    image: (H, W, 3) uint8. unary: (L, N) energies. copies: (L,) how many equal labels each row stands for.

    Raises:
        DataError: a kernel is too narrow for the lattice.
    """
    height, width = image.shape[:2]
    order = parameters.feature_order
    smooth = position_features(height, width, parameters.gaussian_sxy, order)
    look = appearance_features(image, parameters.bilateral_sxy, parameters.bilateral_srgb, order)
    kernels = [
        (TorchLattice.build(torch.from_numpy(features).to(device)), weight)
        for features, weight in ((smooth, parameters.gaussian_weight), (look, parameters.bilateral_weight))
        if weight > 0
    ]
    minus_unary = torch.from_numpy(-unary.T).to(device).contiguous()
    many = torch.from_numpy(copies).to(device, torch.float32).log()
    equals = many.exp()
    q = torch.softmax(minus_unary + many, dim=1) / equals
    for _ in range(parameters.iterations):
        logits = minus_unary
        for lattice, weight in kernels:
            logits = logits + weight * lattice.filter(q)
        q = torch.softmax(logits + many, dim=1) / equals
    return np.ascontiguousarray(q.T.cpu().numpy())


@dataclass(frozen=True)
class TorchLattice:
    """Permutohedral lattice (Adams, Baek & Davis 2010), normalised symmetrically unless it was built otherwise.

    Attributes:
        ids: (N, d+1) int64, vertices of each point's simplex.
        weights: (N, d+1), barycentric weights, normalised: divided by the square root of the point's own response.
        points: (N * (d+1),) the points sorted by vertex; `point_weights` are theirs; `starts` (M,) where each vertex
            begins.
        neighbours: (d+1, M+1, 3) int64, a vertex and its two neighbours along each axis; M, a row of zeros, where there
            is none.
    """

    ids: Tensor
    weights: Tensor
    points: Tensor
    point_weights: Tensor
    starts: Tensor
    neighbours: Tensor

    @classmethod
    def build(cls, features: Tensor, normalised: bool = True) -> TorchLattice:
        """Return the lattice of points with features (d, N) float32, each divided by its width.

        Raises:
            DataError: the features are too many widths apart for the lattice.
        """
        d, n = features.shape
        blocks_of_four = -(-n // 4) * 4  # the published implementation pads with zeros, which conduct
        padded = torch.nn.functional.pad(features, (0, blocks_of_four - n))
        keys, weights = _embed(padded)
        vertices, ids = torch.unique(keys, return_inverse=True)
        ids, weights = ids[:n], weights[:n]
        neighbours = _neighbours(vertices, d)
        sorted_ids, order = torch.sort(ids.flatten(), stable=True)
        points = order // (d + 1)
        starts = torch.searchsorted(sorted_ids, torch.arange(len(vertices), device=ids.device))
        raw = cls(ids, weights, points, weights.flatten()[order], starts, neighbours)
        if not normalised:
            return raw
        response = raw.filter(torch.ones(n, 1, device=features.device))
        weights = weights / (response + 1e-20).sqrt()
        return cls(ids, weights, points, weights.flatten()[order], starts, neighbours)

    def filter(self, values: Tensor) -> Tensor:
        """Return the filtered values, (N, C) as given."""
        on_vertices = embedding_bag(self.points, values, self.starts, mode="sum", per_sample_weights=self.point_weights)
        on_vertices = torch.nn.functional.pad(on_vertices, (0, 0, 0, 1))
        share = on_vertices.new_tensor([1.0, 0.5, 0.5]).expand(self.neighbours.shape[1:])
        for along in self.neighbours:
            on_vertices = embedding_bag(along, on_vertices, mode="sum", per_sample_weights=share)
        return embedding_bag(self.ids, on_vertices, mode="sum", per_sample_weights=self.weights)


@torch.no_grad()
def gaussian_filter(features: Tensor, values: Tensor) -> Tensor:
    """Return values (N, C) summed under a Gaussian of the distance of features (d, N), by the lattice, not normalised.

    Approximately sum_j exp(-|f_i - f_j|^2 / 2) x_j, with the gain of the published filter and the point itself in the
    sum (Adams, Baek & Davis 2010). Features are already divided by their widths.

    Raises:
        DataError: the features are too many widths apart for the lattice.
    """
    slicing = 1 / (1 + 2.0 ** -len(features))
    return TorchLattice.build(features, normalised=False).filter(values) * slicing


def _embed(features: Tensor) -> tuple[Tensor, Tensor]:
    """Return packed keys (N, d+1) int64 and barycentric weights (N, d+1) of features (d, N)."""
    d = len(features)
    corners = d + 1
    i = np.arange(d)
    scale = (np.sqrt(2.0 / 3.0) * corners / np.sqrt((i + 1.0) * (i + 2.0))).astype(np.float32)
    running = torch.zeros_like(features[0])
    elevated = []
    for j in range(d, 0, -1):
        c = features[j - 1] * float(scale[j - 1])
        elevated.append(running - j * c)
        running = running + c
    e = torch.stack([running, *reversed(elevated)])
    v = torch.round(e * float(np.float32(1) / np.float32(corners)))
    origin = v * corners
    gap = e - origin
    rank = v.sum(0).to(torch.int64).repeat(corners, 1)
    for a in range(corners):
        for b in range(a + 1, corners):
            smaller = gap[a] < gap[b]
            rank[a] += smaller
            rank[b] += ~smaller
    turn = (rank < 0).to(torch.int64) * corners - (rank > d).to(torch.int64) * corners
    rank = rank + turn
    origin = origin.to(torch.int64) + turn
    gap = (gap - turn) / corners
    by_rank = torch.zeros_like(gap).scatter_(0, rank, gap)
    weights = torch.empty_like(gap)
    weights[0] = by_rank[d] + (1 - by_rank[0])
    for r in range(1, corners):
        weights[r] = by_rank[d - r] - by_rank[corners - r]
    half, unit = _packing(d)
    if int(origin[:d].abs().max()) > half - 2 * corners:
        raise DataError(
            f"features of the CRF reach {float(features.abs().max()):.0f} widths, too many for the lattice; "
            "make sxy or srgb larger"
        )
    place = torch.tensor(unit, device=features.device)[:, None]
    keys = torch.stack(
        [((origin[:d] + r - corners * (rank[:d] > d - r) + half) * place).sum(0) for r in range(corners)], dim=1
    )
    return keys, weights.T.contiguous()


def _neighbours(vertices: Tensor, d: int) -> Tensor:
    """Return each of the sorted vertices with its neighbours along the axes, (d+1, M+1, 3)."""
    m = len(vertices)
    _, unit = _packing(d)
    itself = torch.arange(m, device=vertices.device)
    out = torch.full((d + 1, m + 1, 3), m, dtype=torch.int64, device=vertices.device)
    for j in range(d + 1):
        step = -sum(unit) + ((d + 1) * unit[j] if j < d else 0)
        out[j, :m, 0] = itself
        for side, direction in ((1, step), (2, -step)):
            key = vertices + direction
            at = torch.searchsorted(vertices, key).clamp(max=m - 1)
            out[j, :m, side] = torch.where(vertices[at] == key, at, m)
    return out


def _packing(d: int) -> tuple[int, list[int]]:
    """Return half the range of a packed coordinate and the units of the d coordinates in a key."""
    bits = 64 // d
    # with two features half of the range is kept free, so that a key stays below 2**63
    half = 1 << (min(bits, 31) - 1)
    return half, [1 << (bits * (d - 1 - i)) for i in range(d)]
