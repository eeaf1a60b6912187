"""One confusion matrix over a whole split, and the means that the published protocols compute from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..types import IGNORE, ClassNames, IntArray

Float64Array = npt.NDArray[np.float64]

PredictedIgnore = Literal["miss", "drop", "background", "error"]
"""What a predicted 255 counts as: a miss of the true class but no false positive; ignored; background; a DataError."""

Absent = Literal["exclude", "zero", "without_truth"]
"""A class in neither truth nor prediction: left out of the mean; IoU 0. `without_truth`: left out if the truth lacks
it, predicted or not."""


@dataclass(frozen=True)
class Protocol:
    """How one publication turns masks into a mean IoU.

    Attributes:
        predicted_ignore: what a predicted 255 counts as.
        absent: how a class in neither truth nor prediction enters the mean.
    """

    predicted_ignore: PredictedIgnore = "miss"
    absent: Absent = "exclude"


PROTOCOLS: dict[str, Protocol] = {
    "wsseg": Protocol(),
    "seam": Protocol("miss", "zero"),
    "ppc": Protocol("miss", "zero"),
    "puzzlecam": Protocol("miss", "zero"),
    "eps": Protocol("drop", "exclude"),
    "irn": Protocol("background", "exclude"),
    "rsepm": Protocol("miss", "exclude"),
    "sccam": Protocol("error", "without_truth"),
    "deeplab": Protocol("error", "without_truth"),
    "onestage": Protocol("error", "zero"),
}
"""Published protocols by name. On a full VOC split they all give the same number; on a subset they do not."""


class Confusion:
    """Pixel counts of a whole split: rows are the truth, columns the prediction, background first, int64.

    `counts` has one row and one column more than there are classes, background included. The last column holds pixels
    whose prediction is not a class (a predicted 255 that is a miss); the last row and column also hold what
    `add(labels=...)` does not count.
    `seen` and `ignored` count the pixels whose truth is not 255, and those of them whose prediction is 255.
    """

    def __init__(self, num_classes: int, predicted_ignore: PredictedIgnore = "miss") -> None:
        """Start with zero counts. num_classes: C foreground classes, so mask values are 0..C and 255.

        Raises:
            DataError: there are too many classes for one-byte masks.
        """
        if not 1 <= num_classes < IGNORE:
            raise DataError(f"{num_classes} foreground classes cannot be scored; expected 1 to {IGNORE - 1}")
        self.num_classes = num_classes
        self.predicted_ignore = predicted_ignore
        self.counts: IntArray = np.zeros((num_classes + 2, num_classes + 2), np.int64)
        self.seen = self.ignored = 0

    def add(
        self,
        mask: npt.NDArray[Any],
        prediction: npt.NDArray[Any],
        *,
        labels: Iterable[int] | None = None,
        image_id: str = "",
    ) -> None:
        """Count one image.

        mask, prediction: (H, W) mask values; pixels with mask 255 are left out. labels: the image's classes, counted
        from 0; if given, counts of all other foreground classes are skipped for this image (RecurSeed on `train`).

        Raises:
            DataError: sizes differ, a value is not a class, or 255 is predicted and counts as an error.
        """
        where = f" of image {image_id!r}" if image_id else ""
        mask, prediction = checked_mask(mask, self.num_classes, f"mask{where}"), np.asarray(prediction)
        if mask.shape != prediction.shape:
            raise DataError(f"prediction{where} is {prediction.shape}, the mask is {mask.shape}; expected equal sizes")
        prediction = checked_mask(prediction, self.num_classes, f"prediction{where}")
        outside = self.num_classes + 1
        kept = mask != IGNORE
        truth, guess = mask[kept].astype(np.int64), prediction[kept].astype(np.int64)
        unknown = guess == IGNORE
        self.seen += guess.size
        self.ignored += int(unknown.sum())
        if unknown.any():
            if self.predicted_ignore == "error":
                raise DataError(f"prediction{where} has the value 255; expected 0..{self.num_classes} at every pixel")
            if self.predicted_ignore == "drop":
                truth, guess = truth[~unknown], guess[~unknown]
            else:
                guess[unknown] = outside if self.predicted_ignore == "miss" else 0
        if labels is not None:
            counted = counted_values(labels, self.num_classes)
            truth, guess = np.where(counted, np.arange(outside + 1), outside)[np.stack([truth, guess])]
        self.counts += np.bincount(truth * (outside + 1) + guess, minlength=(outside + 1) ** 2).reshape(
            outside + 1, outside + 1
        )

    def merge(self, other: Confusion) -> Confusion:
        """Add the counts of another part of the split, exactly; return self.

        Raises:
            DataError: the other part has another number of classes.
        """
        if other.num_classes != self.num_classes:
            raise DataError(f"cannot add a confusion of {other.num_classes} classes to one of {self.num_classes}")
        self.counts += other.counts
        self.seen += other.seen
        self.ignored += other.ignored
        return self

    @property
    def matrix(self) -> IntArray:
        """Counts (1+C, 1+C), rows the truth, columns the prediction."""
        return self.counts[:-1, :-1]

    @property
    def truth(self) -> IntArray:
        """Pixels (1+C,) of each class in the truth."""
        return self.counts[:-1].sum(1)

    @property
    def predicted(self) -> IntArray:
        """Pixels (1+C,) of each class in the prediction."""
        return self.counts[:, :-1].sum(0)

    @property
    def hits(self) -> IntArray:
        """Correctly predicted pixels (1+C,) of each class."""
        return self.matrix.diagonal()

    @property
    def union(self) -> IntArray:
        """Pixels (1+C,) in truth or prediction of each class."""
        return self.truth + self.predicted - self.hits

    @property
    def false_on_background(self) -> IntArray:
        """Pixels (1+C,) predicted as a foreground class where the truth is background; 0 for background itself."""
        wrong = self.matrix[0].copy()
        wrong[0] = 0
        return wrong

    @property
    def false_on_foreground(self) -> IntArray:
        """Pixels (1+C,) predicted as a foreground class where the truth is another foreground class."""
        wrong = self.matrix[1:].sum(0) - self.hits
        wrong[0] = 0
        return wrong

    def iou(self, absent: Absent = "exclude") -> Float64Array:
        """Return the intersection over union of each class, (1+C,) in [0, 1]; NaN (or 0) for absent classes."""
        values = ratio(self.hits, self.union)
        return np.nan_to_num(values, nan=0.0) if absent == "zero" else values

    def in_mean(self, absent: Absent = "exclude") -> npt.NDArray[np.bool_]:
        """Return (1+C,) which classes, background included, enter `mean_iou`."""
        if absent == "zero":
            return np.ones(self.num_classes + 1, bool)
        return (self.truth if absent == "without_truth" else self.union) > 0

    def mean_iou(self, absent: Absent = "exclude", *, background: bool = True) -> float:
        """Return the mean of `iou` in [0, 1], with or without background; NaN if no class is left."""
        values = np.where(self.in_mean(absent), self.iou(absent), np.nan)
        return nanmean(values[0 if background else 1 :])

    def precision(self) -> Float64Array:
        """Return the correct share of each class's prediction, (1+C,) in [0, 1]; NaN where it is never predicted."""
        return ratio(self.hits, self.predicted)

    def recall(self) -> Float64Array:
        """Return the share of each class's truth that is found, (1+C,) in [0, 1]; NaN where the truth lacks it."""
        return ratio(self.hits, self.truth)

    def accuracy(self) -> float:
        """Return the share of the evaluated pixels that are correct; NaN if there are none."""
        return float(ratio(self.hits.sum(), self.truth.sum()))

    def mean_accuracy(self) -> float:
        """Return the mean recall over the classes that the truth has."""
        return nanmean(self.recall())

    def frequency_weighted_iou(self) -> float:
        """Return the mean IoU weighted by each class's share of the truth."""
        share = ratio(self.truth, self.truth.sum())
        return float(np.nansum(share * self.iou())) if self.truth.sum() else float("nan")

    def false_positives(self) -> float:
        """Return the mean over foreground classes of (predicted - hits) / union, absent classes left out."""
        return nanmean(ratio(self.predicted - self.hits, self.union)[1:])

    def false_negatives(self) -> float:
        """Return the mean over foreground classes of (truth - hits) / union, absent classes left out."""
        return nanmean(ratio(self.truth - self.hits, self.union)[1:])


def checked_mask(mask: npt.NDArray[Any], num_classes: int, what: str) -> npt.NDArray[Any]:
    """Return a mask (H, W) whose values are all 0..C or 255.

    Raises:
        DataError: the mask has three channels, does not hold integers, or has another value.
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "iu":
        raise DataError(
            f"{what} has shape {mask.shape} of {mask.dtype}; expected (H, W) integers; save class indices, not colours"
        )
    wrong = (mask > num_classes) & (mask != IGNORE)
    if mask.dtype.kind == "i":
        wrong |= mask < 0
    if wrong.any():
        raise DataError(f"{what} has the value {mask[wrong][0]}; expected 0..{num_classes} or {IGNORE}")
    return mask


def counted_values(labels: Iterable[int], num_classes: int) -> npt.NDArray[np.bool_]:
    """Return (C+2,) which mask values count for an image of these labels: background and the labels themselves.

    Raises:
        DataError: a label is not 0..C-1.
    """
    counted = np.zeros(num_classes + 2, bool)
    counted[0] = True
    for label in labels:
        if not 0 <= label < num_classes:
            raise DataError(f"label {label} is not one of the {num_classes} foreground classes (0..{num_classes - 1})")
        counted[ClassNames.mask_value(label)] = True
    return counted


def ratio(part: npt.NDArray[Any], whole: npt.NDArray[Any]) -> Float64Array:
    """Return part / whole in float64; NaN where whole is 0."""
    part, whole = np.asarray(part, np.float64), np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(np.broadcast_shapes(part.shape, whole.shape), np.nan), where=whole > 0)


def nanmean(values: Float64Array) -> float:
    """Return the mean of the values that are not NaN; NaN without a warning if there are none."""
    kept = values[~np.isnan(values)]
    return float(kept.mean()) if kept.size else float("nan")
