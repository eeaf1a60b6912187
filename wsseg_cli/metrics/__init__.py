"""Scores of masks, of score maps over background thresholds, and of image labels. numpy only."""

from .classification import best_label_threshold
from .confusion import PROTOCOLS, Confusion, Protocol
from .curve import CurvePoint, ThresholdCurve, threshold_range

__all__ = [
    "PROTOCOLS",
    "Confusion",
    "CurvePoint",
    "Protocol",
    "ThresholdCurve",
    "best_label_threshold",
    "threshold_range",
]
