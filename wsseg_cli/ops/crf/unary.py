"""Unary energies of a dense CRF: from scores, from hard labels, and the background of class activation maps."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from ...errors import DataError
from ...types import FloatArray


def unary_from_scores(scores: npt.ArrayLike, *, clip: float = 1e-5, scale: float | None = None) -> FloatArray:
    """Return the energies -log(clip(p, clip, 1)) of scores that need not sum to one.

    scores: (L, H, W), usually in [0, 1]; a negative score counts as the lowest, as in the published code. For float16
    scores the logarithm is taken in float16 too, as in codes that continue from stored maps. scale: in (0, 1], draws p
    towards the uniform distribution first, p * scale + (1 - scale) / L. Returns (L, H, W) float32.

    Raises:
        DataError: the scores are not three-dimensional, have no label or contain NaN.
    """
    p = np.asarray(scores)
    kind = np.float16 if p.dtype == np.float16 else np.float32
    p = p.astype(kind, copy=False)
    if p.ndim != 3 or p.shape[0] == 0:
        raise DataError(f"CRF scores have shape {p.shape}, expected (labels, H, W) with at least one label")
    if p.size and np.isnan(p.max()):
        bad = int(np.count_nonzero(np.isnan(p)))
        raise DataError(f"CRF scores hold {bad} NaN of {p.size} values; look for the network or file that made them")
    if scale is not None:
        if not 0 < scale <= 1:
            raise DataError(f"scale of CRF scores is {scale}, expected a number in (0, 1]")
        p = kind(scale) * p + kind((1 - scale) / p.shape[0])
    energies = np.clip(p, kind(clip), kind(1))
    np.log(energies, out=energies)
    return np.negative(energies, out=energies).astype(np.float32, copy=False)


def unary_from_softmax(scores: npt.ArrayLike, *, clip: float = 1e-5) -> FloatArray:
    """Return the energies of the softmax over the labels of scores (L, H, W), as for ToCo's masks from score maps.

    Raises:
        DataError: as `unary_from_scores`.
    """
    values = np.asarray(scores, np.float32)
    if values.ndim == 3 and values.size:
        values = np.exp(values - values.max(axis=0))
        values /= values.sum(axis=0)
    return unary_from_scores(values, clip=clip)


def unary_from_labels(
    labels: npt.NDArray[np.integer], count: int, *, certainty: float = 0.7, zero_unsure: bool = False
) -> FloatArray:
    """Return the energies of hard labels: -log(certainty) on the label, -log((1 - certainty)/(count - 1)) elsewhere.

    labels: (H, W) integers in 0..count-1; with `zero_unsure` in 0..count, where 0 means no label (all energies
    -log(1/count)) and k is row k - 1. With a single label the result is all zero. Returns (count, H, W) float32.

    Raises:
        DataError: it is not a map of integers, or a label is outside the range.
    """
    labels = np.asarray(labels)
    if labels.ndim != 2 or labels.dtype.kind not in "iu":
        raise DataError(f"CRF labels have shape {labels.shape} and type {labels.dtype}, expected (H, W) integers")
    highest = count if zero_unsure else count - 1
    if labels.size and (int(labels.min()) < 0 or int(labels.max()) > highest):
        raise DataError(f"CRF labels reach from {labels.min()} to {labels.max()}, expected 0 to {highest}")
    if count == 1:
        return np.zeros((1, *labels.shape), np.float32)
    rows = np.arange(count)[:, None, None] + (1 if zero_unsure else 0)
    sure, other = np.float32(-np.log(certainty)), np.float32(-np.log((1.0 - certainty) / (count - 1)))
    energies = np.where(labels[None] == rows, sure, other)
    if zero_unsure:
        energies[:, labels == 0] = np.float32(-np.log(1.0 / count))
    return energies


def add_power_background(cams: npt.ArrayLike, power: float) -> FloatArray:
    """Return [(1 - max_k cam_k) ** power, cams], the scores of PSA with the background first.

    cams: (K, H, W) in [0, 1], classes of the image label only; a maximum above 1 counts as 1. power: PSA's alpha; a
    larger one makes the background weaker. K = 0 gives a background of 1. Returns (1 + K, H, W) float32.

    Raises:
        DataError: the maps are not three-dimensional, or contain NaN.
    """
    maps = np.asarray(cams, np.float32)
    if maps.ndim != 3:
        raise DataError(f"class activation maps have shape {maps.shape}, expected (classes, H, W)")
    if np.isnan(maps).any():
        raise DataError("class activation maps hold NaN; look for the network or file that made them")
    highest = maps.max(axis=0) if len(maps) else np.zeros(maps.shape[1:], np.float32)
    background = np.maximum(np.float32(1) - highest, 0) ** np.float32(power)
    return np.concatenate([background[None], maps])
