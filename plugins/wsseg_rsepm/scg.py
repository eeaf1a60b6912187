"""Self-correlation maps: class maps spread along the first and second order similarity of features (SPA, RS+EPM)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class ScgParameters:
    """Values of self-correlation; the defaults are RecurSeed's.

    Attributes:
        first: cosine similarities below it count as 0; 0 keeps all.
        second: second-order entries below second / n count as 0; 0 keeps all.
        foreground: map value from which a cell is foreground.
        background: map value up to which a cell is background.
        iterations: products that make the second order.
        second_weight: of the second order against the first.
        eps: added to the sums of columns of the first order (SPA: 1e-5).
    """

    first: float = 0.5
    second: float = 0.1
    foreground: float = 0.3
    background: float = 0.05
    iterations: int = 1
    second_weight: float = 1.0
    eps: float = 1e-10


PUBLISHED = ScgParameters()
"""RecurSeed's values."""

_EPS = 1e-10


def correlations(features: Tensor, parameters: ScgParameters, inside: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return first and second order self-correlation (N, n, n), n = h * w; columns sum to one (Pan et al., CVPR 2021).

    features: (N, D, h, w). inside: (N, h, w) bool; cells outside correlate with none.
    """
    p = parameters
    v = features.flatten(2)
    v = v / (v.norm(dim=1, keepdim=True) + _EPS)
    similar = torch.relu(v.transpose(1, 2) @ v)
    if inside is not None:
        cells = inside.flatten(1).to(similar.dtype)
        similar = similar * cells[:, :, None] * cells[:, None, :]
    if p.first > 0:
        similar = similar.masked_fill(similar < p.first, 0)
    first = _columns_to_one(similar, p.eps)
    step = similar.clone()
    step.diagonal(dim1=1, dim2=2).zero_()
    step = _columns_to_one(step, p.eps)
    second = step
    for _ in range(p.iterations):
        second = _columns_to_one(second @ step, _EPS)
    if p.second > 0:
        second = second.masked_fill(second < p.second / second.shape[1], 0)
    return first, second


def high_order(features: Iterable[Tensor], parameters: ScgParameters, inside: Tensor | None = None) -> Tensor:
    """Return the high-order self-correlation (N, n, n): the maximum of both orders for each feature map, added up.

    features: maps of one size, used one after the other, so that memory does not grow with their number.
    """
    total: Tensor | None = None
    for maps in features:
        first, second = correlations(maps, parameters, inside)
        joined = _columns_to_one(torch.maximum(first, second.mul_(parameters.second_weight)), _EPS)
        total = joined if total is None else total.add_(joined)
    if total is None:
        raise ValueError("self-correlation needs at least one feature map")
    return total


def spread(cams: Tensor, correlation: Tensor, parameters: ScgParameters, inside: Tensor | None = None) -> Tensor:
    """Return the self-correlation map of each class map, (N, C, h, w) in [0, 1] (Pan et al., CVPR 2021).

    The columns of the cells that are certainly foreground are added up, those of the background are subtracted. A map
    without such a foreground cell becomes 0.

    cams: (N, C, h, w) in [0, 1]. correlation: (N, n, n), as `high_order` gives it. inside: (N, h, w) bool; cells
    outside are neither foreground nor background, and 0 in the result.
    """
    flat = cams.flatten(2)
    foreground, background = flat >= parameters.foreground, flat <= parameters.background
    if inside is not None:
        cells = inside.flatten(1)[:, None]
        foreground, background = foreground & cells, background & cells
    # each column is normalised between its minimum and maximum once, then one product serves all classes
    columns = _min_max(correlation, 1)
    chosen = torch.cat([foreground, background], 1).to(columns.dtype)
    sums = _min_max(chosen @ columns.transpose(1, 2), 2)
    near, far = sums.chunk(2, 1)
    maps = _min_max(torch.relu(near - far), 2)
    if inside is not None:
        maps = maps * cells
    return maps.reshape(cams.shape)


def self_correlation(
    cams: Tensor, features: Iterable[Tensor], parameters: ScgParameters = PUBLISHED, inside: Tensor | None = None
) -> Tensor:
    """Return class maps (N, C, h, w) in [0, 1] spread along the self-correlation of `features` (RecurSeed's SCG)."""
    return spread(cams, high_order(features, parameters, inside), parameters, inside)


def _columns_to_one(matrix: Tensor, eps: float) -> Tensor:
    return matrix / (matrix.sum(1, keepdim=True) + eps)


def _min_max(values: Tensor, axis: int) -> Tensor:
    low, high = values.amin(axis, keepdim=True), values.amax(axis, keepdim=True)
    return (values - low) / (high - low + _EPS)
