"""Dense CRF by the package pydensecrf, the extra `wsseg[pydensecrf]`: the published code; holds the GIL."""

from __future__ import annotations

import numpy as np

from ...errors import RecipeError
from ...types import ByteArray, FloatArray
from .features import appearance_features, position_features
from .presets import CrfParameters


def library_mean_field(image: ByteArray, unary: FloatArray, parameters: CrfParameters) -> FloatArray:
    """Return the marginals (L, N) that pydensecrf computes. image: (H, W, 3) uint8. unary: (L, N) energies.

    Raises:
        RecipeError: the package does not load.
    """
    try:
        from pydensecrf.densecrf import DenseCRF
    except ImportError as error:
        raise RecipeError(
            f"CRF backend 'pydensecrf' does not load ({error}): reinstall it, or set backend: auto"
        ) from None

    height, width = image.shape[:2]
    order = parameters.feature_order
    crf = DenseCRF(unary.shape[1], unary.shape[0])
    crf.setUnaryEnergy(np.array(unary, np.float32, order="C"))
    for weight, features in (
        (parameters.gaussian_weight, position_features(height, width, parameters.gaussian_sxy, order)),
        (
            parameters.bilateral_weight,
            appearance_features(image, parameters.bilateral_sxy, parameters.bilateral_srgb, order),
        ),
    ):
        if weight > 0:
            crf.addPairwiseEnergy(np.ascontiguousarray(features), compat=weight)
    return np.array(crf.inference(parameters.iterations), np.float32)
