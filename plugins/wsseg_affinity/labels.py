"""Training labels of AffinityNet: where a weak and a strong background agree (PSA, SEAM, PPC)."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from wsseg_cli.errors import DataError
from wsseg_cli.ops.crf import add_power_background, crf_parameters, dense_crf
from wsseg_cli.ops.masks import mask_from_scores, present_values
from wsseg_cli.settings import CrfSettings
from wsseg_cli.types import IGNORE, ByteArray, FloatArray, IntArray


def confident_labels(low: npt.NDArray[Any], high: npt.NDArray[Any]) -> ByteArray:
    """Return the label map of AffinityNet, (h, w) uint8: foreground, 0 background, 255 unknown.

    low, high: (L, h, w) scores with the background in row 0, made with a strong (low alpha) and a weak (high alpha)
    background. Foreground is what even `low` calls an object, background what even `high` calls background; where all
    scores are below 1e-5 nothing is known: such cells are outside the image. Values are rows, not classes.

    Raises:
        DataError: the two differ in shape, have no row, or have more rows than a byte can count.
    """
    low, high = np.asarray(low), np.asarray(high)
    if low.shape != high.shape or low.ndim != 3 or not 0 < len(low) <= IGNORE:
        raise DataError(
            f"scores of low and high alpha have shapes {low.shape} and {high.shape}; expected two of (labels, h, w) "
            f"with the background first and at most {IGNORE} labels"
        )
    label = low.argmax(0).astype(np.uint8)
    label[label == 0] = IGNORE
    # order matters: where the weak background wins, the pixel is background whatever `low` says
    label[high.argmax(0) == 0] = 0
    label[np.maximum(low.max(0), high.max(0)) < 1e-5] = IGNORE
    return label


def affinity_scores(
    image: ByteArray,
    cams: FloatArray,
    classes: IntArray,
    num_classes: int,
    alpha: float,
    preset: str | CrfSettings = "psa",
    **crf: Any,
) -> FloatArray:
    """Return the CRF's marginals for one background power, (1+K, H, W) float32, background first.

    image: (H, W, 3) uint8 RGB; cams: (K, H, W) in [0, 1] of the image's `classes` (K,), counted from 0; num_classes:
    C. alpha: background = (1 - max cam) ** alpha. preset: `psa` and its like take the scores as they are (PSA, SEAM);
    `ppc` their argmax as hard labels among all 1+C, of which the present rows are returned. crf: passed to `dense_crf`.

    Without a class the whole image is background.
    """
    scores = add_power_background(cams, alpha)
    if len(scores) == 1:
        return np.ones((1, *scores.shape[1:]), np.float32)
    if crf_parameters(preset).unary != "labels":
        return dense_crf(image, scores, preset, **crf)
    values = present_values(classes)
    return dense_crf(image, mask_from_scores(scores, classes), preset, labels=num_classes + 1, **crf)[values]
