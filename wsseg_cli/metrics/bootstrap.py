"""How much the best threshold depends on the images that it was chosen on: a bootstrap over images (Efron, 1979)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .confusion import Float64Array, ratio
from .curve import ThresholdCurve

FEW = 50
"""Up to this many images, a threshold comes with an interval; with more it is narrow, and the counts take memory."""
_DRAWS = 1000
_OUTSIDE = (2.5, 97.5)
"""Percentiles between which 95 per cent of the draws lie."""


@dataclass(frozen=True)
class Spread:
    """The range of the best threshold in 95 per cent of resampled sets of images, and of its mean IoU in [0, 1]."""

    threshold: tuple[float, float]
    mean_iou: tuple[float, float]


def spread_of_best(curves: Sequence[ThresholdCurve], seed: int = 0) -> Spread | None:
    """Return how the best threshold and its mean IoU vary over sets of images drawn with replacement.

    curves: one per image, with equal thresholds and classes. None for a single image, which cannot be resampled.
    """
    if len(curves) < 2:
        return None
    hits, union = (np.stack([_by_threshold(curve, name) for curve in curves]) for name in ("hits", "union"))
    count = len(curves)
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=_DRAWS)
    best = np.array([_best(np.tensordot(row, hits, 1), np.tensordot(row, union, 1)) for row in times])
    thresholds = curves[0].thresholds[best[:, 0].astype(np.int64)]
    return Spread(_between(thresholds), _between(best[:, 1]))


def _by_threshold(curve: ThresholdCurve, name: str) -> Float64Array:
    """Return hits or union of each class at each threshold, (T, 1+C)."""
    return np.stack([getattr(confusion, name) for confusion in curve.confusions()]).astype(np.float64)


def _best(hits: Float64Array, union: Float64Array) -> tuple[float, float]:
    """Return the position of the best threshold, the lowest among equals, and its mean IoU."""
    iou = ratio(hits, union)
    known = ~np.isnan(iou)
    means = np.where(known, iou, 0.0).sum(axis=1) / np.maximum(known.sum(axis=1), 1)
    place = int(means.argmax())
    return float(place), float(means[place])


def _between(values: Float64Array) -> tuple[float, float]:
    low, high = np.percentile(values, _OUTSIDE)
    return round(float(low), 4), round(float(high), 4)
