"""Scores of masks, and of score maps over background thresholds. numpy only."""

from .confusion import PROTOCOLS, Confusion, Protocol
from .curve import CurvePoint, ThresholdCurve, threshold_range

__all__ = [
    "PROTOCOLS",
    "Confusion",
    "CurvePoint",
    "Protocol",
    "ThresholdCurve",
    "threshold_range",
]
