"""Maps around IRN: confident labels from two thresholds and a CRF, and the walked scores at image size."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from wsseg_cli.errors import DataError
from wsseg_cli.ops.crf import dense_crf, labels_of
from wsseg_cli.ops.random_walk import enlarged
from wsseg_cli.settings import CrfSettings
from wsseg_cli.types import IGNORE, ByteArray, FloatArray, IntArray

from .labels import present_values


def thresholded(cams: FloatArray, threshold: float) -> IntArray:
    """Return the row of [threshold, cams] that is highest, (H, W) in 0..K; background wins ties."""
    plane = np.full((1, *cams.shape[1:]), threshold, np.float32)
    return np.concatenate([plane, np.asarray(cams, np.float32)]).argmax(0)


def irn_confident_labels(
    image: ByteArray,
    cams: FloatArray,
    classes: IntArray,
    foreground: float = 0.30,
    background: float = 0.05,
    preset: str | CrfSettings = "irn",
    **crf: Any,
) -> ByteArray:
    """Return the training labels of IRN, (H, W) uint8 mask values: class, 0 background, 255 unsure.

    image: (H, W, 3) uint8 RGB; cams: (K, H, W) in [0, 1] of the present classes (K,). A pixel is of a class if it is so
    at the high threshold `foreground`, and background if it is so at both, each after a CRF from hard labels among the
    1+K present ones (Ahn, Cho & Kwak 2019). crf: passed to `dense_crf`. Without a class everything is background.

    Raises:
        DataError: the thresholds are in the wrong order, or scores are NaN.
    """
    if background > foreground:
        raise DataError(f"background threshold {background} is above the foreground threshold {foreground}")
    if not len(classes):
        return np.zeros(image.shape[:2], np.uint8)
    if np.isnan(cams).any():
        raise DataError("class activation maps hold NaN; look for the network or file that made them")
    values, count = present_values(classes), len(classes) + 1
    sure, possible = (
        values[labels_of(dense_crf(image, thresholded(cams, threshold), preset, labels=count, **crf))]
        for threshold in (foreground, background)
    )
    return combined(sure, possible)


def combined(sure: npt.NDArray[Any], possible: npt.NDArray[Any]) -> ByteArray:
    """Return `sure` where it names a class, 0 where both are background, 255 elsewhere: (H, W) uint8."""
    label = np.where((sure == 0) & (possible == 0), 0, IGNORE)
    return np.where(sure > 0, sure, label).astype(np.uint8)


def scores_at_size(walked: Tensor, size: tuple[int, int]) -> Tensor:
    """Return walked scores enlarged four times, cropped to (H, W), over their common maximum: (K, H, W) in [0, 1].

    walked: (K, h, w), a quarter of the size. Maps that are zero everywhere stay zero.
    """
    scores = enlarged(walked, 4)[:, : size[0], : size[1]]
    highest = scores.amax() if scores.numel() else torch.zeros(())
    return scores / highest if float(highest) > 0 else scores
