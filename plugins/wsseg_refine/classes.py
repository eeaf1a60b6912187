"""Which classes of a score map a refiner keeps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from wsseg_cli.errors import DataError
from wsseg_cli.types import ByteArray, ScoreMap


def kept(coarse: ScoreMap, labels: tuple[int, ...] | None, image: ByteArray) -> ScoreMap:
    """Return the map with the classes of the image's labels only; with None, all classes that it has.

    Raises:
        DataError: the map belongs to an image (H, W, 3) of another size.
    """
    if tuple(coarse.size) != image.shape[:2]:
        raise DataError(
            f"score map of {coarse.image_id!r} is for an image of {coarse.size[0]} x {coarse.size[1]} pixels, the image"
            f" has {image.shape[0]} x {image.shape[1]} (height x width); make the score maps of this image again"
        )
    if labels is None:
        return coarse
    rows = np.isin(coarse.classes, labels)
    strided = None if coarse.strided is None else coarse.strided[rows]
    return replace(coarse, classes=coarse.classes[rows], scores=coarse.scores[rows], strided=strided)
