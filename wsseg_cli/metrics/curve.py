"""Scores of CAMs at every background threshold, from one pass over the images."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..types import IGNORE, FloatArray, IntArray
from .confusion import Absent, Confusion, checked_mask, counted_values


@dataclass(frozen=True)
class CurvePoint:
    """One threshold of the curve: `threshold`, `mean_iou` in [0, 1], mean `false_positives` and `false_negatives`."""

    threshold: float
    mean_iou: float
    false_positives: float
    false_negatives: float


def threshold_range(start: float, stop: float, step: float) -> list[float]:
    """Return start, start + step, ... up to and including stop.

    Raises:
        DataError: the step is not positive, or stop is below start.
    """
    if not step > 0 or not stop >= start:
        raise DataError(f"thresholds from {start} to {stop} in steps of {step} do not make a range")
    return [start + step * i for i in range(int((stop - start) / step + 1e-6) + 1)]


class ThresholdCurve:
    """Confusion at every background threshold t, prediction = argmax of [t, scores], from one pass over the images.

    A histogram over (truth, best class, number of thresholds below the best score) holds all that the thresholds
    need; its cumulative sums are the confusions. Background wins ties, as numpy's argmax takes the first maximum, and
    scores are compared with float32(t), since the published sweeps hold both in one float32 array.
    """

    def __init__(self, thresholds: Iterable[float], num_classes: int) -> None:
        """Start empty. thresholds: (T,) ascending, not negative; num_classes: C foreground classes.

        Raises:
            DataError: thresholds are missing, negative, not ascending or not finite, or the classes are too many.
        """
        self.thresholds: npt.NDArray[np.float64] = np.asarray(list(thresholds), np.float64)
        if self.thresholds.size == 0 or not np.all(np.isfinite(self.thresholds)):
            raise DataError(f"thresholds {self.thresholds.tolist()} cannot be scored; expected finite numbers")
        # with a negative threshold, absent classes, which are 0 in the published array of all classes, would win
        if self.thresholds[0] < 0 or np.any(np.diff(self.thresholds) <= 0):
            raise DataError(f"thresholds {self.thresholds.tolist()} must ascend from 0 or above")
        self.num_classes = num_classes
        self._edges = self.thresholds.astype(np.float32)
        shape = Confusion(num_classes).counts.shape
        self.histogram: IntArray = np.zeros((*shape, len(self._edges) + 1), np.int64)

    def add(
        self,
        mask: npt.NDArray[Any],
        classes: npt.NDArray[Any] | Iterable[int],
        scores: FloatArray,
        *,
        labels: Iterable[int] | None = None,
        image_id: str = "",
    ) -> None:
        """Count one image, in time independent of the number of thresholds.

        mask: (H, W) mask values; classes: (K,) foreground classes counted from 0; scores: (K, H, W) at image size.
        labels: as in `Confusion.add`. An image without a class is background everywhere.

        Raises:
            DataError: sizes differ, a class is unknown or occurs twice, a score is NaN, a mask value is not a class.
        """
        where = f" of image {image_id!r}" if image_id else ""
        mask = checked_mask(mask, self.num_classes, f"mask{where}")
        classes = np.asarray(classes, np.int64).reshape(-1)
        scores = np.asarray(scores, np.float32)
        if scores.shape != (len(classes), *mask.shape):
            raise DataError(
                f"scores{where} have shape {scores.shape}; expected {(len(classes), *mask.shape)}: "
                "one map a class, at the size of the mask"
            )
        if len(classes) and not 0 <= classes.min() <= classes.max() < self.num_classes:
            raise DataError(f"classes {classes.tolist()}{where} are not all 0..{self.num_classes - 1}")
        if len(np.unique(classes)) < len(classes):
            raise DataError(f"classes {classes.tolist()}{where} repeat a class")
        order = np.argsort(classes)
        outside, bins = self.num_classes + 1, len(self._edges) + 1
        values = np.append(classes[order] + 1, 0)
        best, position = _best(scores[order] if len(classes) > 1 and np.any(np.diff(order) < 0) else scores)
        kept = mask != IGNORE
        truth, best, position = mask[kept].astype(np.int64), best[kept], position[kept]
        if np.isnan(best).any():
            raise DataError(f"scores{where} are NaN at {int(np.isnan(best).sum())} pixels; expected finite numbers")
        rows = np.arange(outside + 1)
        if labels is not None:
            counted = counted_values(labels, self.num_classes)
            rows = np.where(counted, rows, outside)
            values = rows[values]
        passed = np.searchsorted(self._edges, best, side="left")
        counts = np.bincount(
            (truth * len(values) + position) * bins + passed, minlength=(outside + 1) * len(values) * bins
        ).reshape(outside + 1, len(values), bins)
        np.add.at(self.histogram, (rows[:, None], values[None, :]), counts)

    def merge(self, other: ThresholdCurve) -> ThresholdCurve:
        """Add the counts of another part of the split, exactly; return self.

        Raises:
            DataError: the other part has other thresholds or classes.
        """
        if other.histogram.shape != self.histogram.shape or np.any(other.thresholds != self.thresholds):
            raise DataError("cannot add two threshold curves of different thresholds or classes")
        self.histogram += other.histogram
        return self

    def confusions(self) -> list[Confusion]:
        """Return the confusion over the split at each threshold."""
        # above[..., k]: pixels whose best score exceeds threshold k, so that their class is predicted
        above = self.histogram[..., ::-1].cumsum(-1)[..., ::-1][..., 1:]
        total = self.histogram.sum((1, 2))
        confusions = []
        for k in range(len(self.thresholds)):
            confusion = Confusion(self.num_classes)
            confusion.counts[:] = above[..., k]
            confusion.counts[:, 0] = total - above[..., k].sum(1)
            confusions.append(confusion)
        return confusions

    def points(self, absent: Absent = "exclude") -> list[CurvePoint]:
        """Return the whole curve in the order of the thresholds."""
        return [
            CurvePoint(float(t), c.mean_iou(absent), c.false_positives(), c.false_negatives())
            for t, c in zip(self.thresholds, self.confusions(), strict=True)
        ]

    def best(self, absent: Absent = "exclude") -> CurvePoint:
        """Return the point of the highest mean IoU; among equals, that of the lowest threshold.

        Raises:
            DataError: no pixel has been counted.
        """
        if not self.histogram.any():
            raise DataError("the threshold curve has counted no pixel; add at least one image with a mask")
        return max(self.points(absent), key=lambda point: np.nan_to_num(point.mean_iou, nan=-1.0))


def _best(scores: FloatArray) -> tuple[FloatArray, IntArray]:
    """Return the highest score (H, W) and its position (H, W) in (K, H, W); -inf and 0 if K is 0."""
    if len(scores) == 0:
        return np.full(scores.shape[1:], -np.inf, np.float32), np.zeros(scores.shape[1:], np.int64)
    best, position = scores[0], np.zeros(scores.shape[1:], np.int64)
    for k in range(1, len(scores)):
        position[scores[k] > best] = k
        best = np.maximum(best, scores[k])
    return best, position
