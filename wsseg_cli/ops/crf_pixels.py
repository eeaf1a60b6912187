"""The pixels that published codes give their dense CRF: not the photo, but what they restore of the network's input."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..types import ByteArray, Normalization

CrfPixels = Literal["float32", "float64", "mean_subtracted"]
"""`float32`, `float64`: normalised in float32, restored in this precision, truncated (semantic-segmentation-codebase
and PPC; RS+EPM). `mean_subtracted`: the network's input itself, BGR minus the mean, cast to bytes (deeplab-pytorch)."""


def restored_pixels(image: ByteArray, normalization: Normalization, rule: CrfPixels) -> ByteArray:
    """Return the (H, W, 3) uint8 pixels of a photo (H, W, 3) as a published code hands them to its CRF.

    Truncated, not rounded, so many levels come back one too low: with ImageNet's values, of the 256 levels of R, G and
    B, 174, 53 and 23 in float64, and 62, 39 and 36 in float32. With `mean_subtracted` negative values wrap around.
    """
    pixels = normalization.apply(image)
    if rule == "mean_subtracted":
        return np.trunc(pixels).astype(np.int64).astype(np.uint8)
    colours = pixels[..., ::-1] if normalization.order == "BGR" else pixels
    mean, std = (np.asarray(values, rule) for values in (normalization.mean, normalization.std))
    if normalization.order == "BGR":
        mean, std = mean[::-1], std[::-1]
    return np.clip((colours * std + mean) * normalization.scale, 0, 255).astype(np.uint8)
