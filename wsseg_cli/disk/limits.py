"""The size limit for the pictures that are read."""

from __future__ import annotations

import os

from ..errors import RecipeError
from ..settings import MAX_MEGAPIXELS

DEFAULT_MEGAPIXELS = 100
"""Larger pictures are refused by their header: a network would need gigabytes, and a small file can claim any size."""


def max_pixels() -> int:
    """Return the number of pixels of the largest picture that is read.

    Raises:
        RecipeError: the environment variable does not hold a positive number.
    """
    said = os.environ.get(MAX_MEGAPIXELS) or str(DEFAULT_MEGAPIXELS)
    try:
        limit = float(said)
    except ValueError:
        limit = 0.0
    if not 0 < limit < 1e5:
        raise RecipeError(f"{MAX_MEGAPIXELS}={said[:40]}: expected megapixels, such as {DEFAULT_MEGAPIXELS}")
    return int(limit * 1e6)
