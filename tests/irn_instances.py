"""Instances from a displacement field (IRN): centroids, their clusters, and detections from walked score maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from wsseg_cli.errors import DataError
from wsseg_cli.types import FloatArray, IntArray

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Detections:
    """Instances of one image: `scores` (n,) in [0, 1], `masks` (n, H, W), `classes` (n,) counted from 0."""

    scores: FloatArray
    masks: BoolArray
    classes: IntArray


def centroids(displacement: FloatArray, iterations: int = 300) -> IntArray:
    """Return where every cell ends that follows the field, (2, h, w) rows and columns (Ahn, Cho & Kwak 2019).

    displacement: (2, h, w) in cells, channels dy, dx. Each step reads the field bilinearly at the cell's place and
    stays inside the map; the end is rounded, halves to even.

    Raises:
        DataError: not (2, h, w), or not finite.
    """
    field = np.asarray(displacement, np.float32)
    if field.ndim != 3 or len(field) != 2 or not np.isfinite(field).all():
        raise DataError(f"displacement field of shape {field.shape}; expected (2, h, w) finite numbers")
    h, w = field.shape[1:]
    limit = np.array([h - 1, w - 1], np.float32)[:, None, None]
    place = np.indices((h, w)).astype(np.float32)
    for _ in range(iterations):
        place = np.clip(place + _bilinear(field, place), 0, limit)
    return np.rint(place).astype(np.int32)  # type: ignore[return-value]


def _bilinear(field: FloatArray, place: FloatArray) -> FloatArray:
    low, high = np.floor(place).astype(np.int64), np.ceil(place).astype(np.int64)
    part_y, part_x = place - low
    (top, left), (bottom, right) = low, high
    upper = field[:, top, left] * (1 - part_x) + field[:, top, right] * part_x
    lower = field[:, bottom, left] * (1 - part_x) + field[:, bottom, right] * part_x
    return upper * (1 - part_y) + lower * part_y


def instance_masks(ends: IntArray, displacement: FloatArray, threshold: float = 2.5) -> BoolArray:
    """Return the cells of each instance, (M, h, w), each cell in exactly one.

    Where the field is weaker than `threshold` cells lie the 4-connected cores of the instances, everything stronger
    counts as one more; a cell belongs to the core that its centroid `ends` (2, h, w) lies in.
    """
    from scipy import ndimage

    cores, _ = ndimage.label(np.sqrt((np.asarray(displacement, np.float32) ** 2).sum(0)) < threshold)
    cluster = cores[ends[0], ends[1]]
    return np.stack([cluster == number for number in np.unique(cluster)])


def detections(scores: FloatArray, masks: BoolArray, classes: npt.NDArray[Any], smallest: float) -> Detections:
    """Return the 4-connected parts of each mask as detections.

    scores, masks: (n, H, W); classes: (n,). A part's score is the highest of its map inside, 0 if it has fewer than
    `smallest` pixels (published: 1 % of the image). Nothing detected is an empty result.
    """
    from scipy import ndimage

    found_scores, found_masks, found_classes = [], [], []
    for score, mask, label in zip(scores, masks, classes, strict=True):
        parts, number = ndimage.label(mask)
        for k in range(1, number + 1):
            part = parts == k
            found_scores.append(float(score[part].max()) if part.sum() >= smallest else 0.0)
            found_masks.append(part)
            found_classes.append(int(label))
    return Detections(
        np.asarray(found_scores, np.float32),
        np.stack(found_masks) if found_masks else np.zeros((0, *np.asarray(masks).shape[1:]), bool),
        np.asarray(found_classes, np.int64),
    )
