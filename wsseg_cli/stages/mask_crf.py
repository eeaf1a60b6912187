"""The dense CRF of the stages that write masks: the pixels that it sees and the classes that enter it."""

from __future__ import annotations

import numpy as np

from ..ops.crf import dense_crf
from ..plugin.protocols import Trainable
from ..settings import MaskCrfSettings
from ..types import ByteArray, FloatArray


def crf_image(crf: MaskCrfSettings | None, plugin: Trainable | None, image: ByteArray) -> ByteArray:
    """Return the (H, W, 3) uint8 pixels that the CRF sees: the photo's, or those of the plugin's published code."""
    if crf is None or plugin is None or crf.image == "file":
        return image
    return plugin.published_pixels(image)


def after_crf(image: ByteArray, scores: FloatArray, crf: MaskCrfSettings, device: str = "cpu") -> FloatArray:
    """Return the marginals of scores (L, H, W) under a stage's CRF, 0 for labels that do not enter it.

    image: as `crf_image` gives it.
    """
    enters = np.ones(len(scores), bool)
    if crf.min_score is not None:
        enters = scores.max(axis=(1, 2)) >= crf.min_score
        enters |= not enters.any()
    marginals = dense_crf(image, scores[enters], crf, backend=crf.backend, device=device)
    if enters.all():
        return marginals
    full = np.zeros_like(scores)
    full[enters] = marginals
    return full
