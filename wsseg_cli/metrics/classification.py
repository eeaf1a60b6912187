"""The score of image-level labels over thresholds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import DataError

Float64Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class LabelScore:
    """Mean precision and recall over classes and their F1, in percent, at the best of `thresholds`.

    Attributes:
        threshold: the best one, the lowest among equals.
        precision: mean over classes at that threshold.
        recall: likewise.
        f1: harmonic mean of the two.
        curve: (T,) F1 at every threshold.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    curve: Float64Array


def best_label_threshold(
    probabilities: npt.NDArray[Any], labels: npt.NDArray[Any], thresholds: Sequence[float], eps: float = 1e-5
) -> LabelScore:
    """Return the best class-wise F1 of multi-label predictions (RecurSeed's evaluator).

    probabilities: (N, C) in [0, 1]; labels: (N, C) multi-hot. A class is predicted where its probability is at or
    above the threshold. eps: added to every denominator.

    Raises:
        DataError: shapes differ or there is no threshold.
    """
    if probabilities.shape != labels.shape or probabilities.ndim != 2 or not len(thresholds):
        raise DataError(
            f"probabilities {probabilities.shape}, labels {labels.shape} and {len(thresholds)} thresholds "
            "cannot be scored; expected two (N, C) arrays and at least one threshold"
        )
    truth = labels > 0
    rows = []
    for threshold in thresholds:
        predicted = probabilities >= threshold
        hits = (predicted & truth).sum(0)
        precision = np.mean(hits / (predicted.sum(0) + eps)) * 100
        recall = np.mean(hits / (truth.sum(0) + eps)) * 100
        rows.append((precision, recall, 2 * precision * recall / (precision + recall + eps)))
    curve = np.asarray([row[2] for row in rows])
    best = int(curve.argmax())
    precision, recall, f1 = rows[best]
    return LabelScore(float(thresholds[best]), float(precision), float(recall), float(f1), curve)
