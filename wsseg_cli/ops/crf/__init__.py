"""Fully connected CRF (Krähenbühl & Koltun 2011). Importing it loads neither torch nor numba."""

from .inference import Backend, available_backends, choose_backend, dense_crf, labels_of, marginals
from .presets import PRESETS, CrfParameters, crf_parameters
from .unary import add_power_background, unary_from_labels, unary_from_scores

__all__ = [
    "PRESETS",
    "Backend",
    "CrfParameters",
    "add_power_background",
    "available_backends",
    "choose_backend",
    "crf_parameters",
    "dense_crf",
    "labels_of",
    "marginals",
    "unary_from_labels",
    "unary_from_scores",
]
