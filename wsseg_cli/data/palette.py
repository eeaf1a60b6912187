"""Colours of mask values: VOC's colour map, which extends to any number of classes."""

from __future__ import annotations

import numpy as np

from ..types import IGNORE, ByteArray


def voc_colours() -> ByteArray:
    """Return the VOC colour map, (256, 3) uint8 RGB.

    The bits of a value go in turn to red, green and blue, highest colour bit first.
    """
    values = np.arange(IGNORE + 1)
    colours = np.zeros((len(values), 3), np.uint8)
    for place in range(8):
        for channel in range(3):
            colours[:, channel] |= (((values >> channel) & 1) << (7 - place)).astype(np.uint8)
        values >>= 3
    return colours


def palette(num_classes: int | None = None) -> ByteArray:
    """Return colours of mask values 0..C and 255, (256, 3) uint8 RGB; values in between are black.

    num_classes: C; None gives every value a colour.
    """
    colours = voc_colours()
    if num_classes is not None:
        colours[num_classes + 1 : IGNORE] = 0
    return colours


def palette_bytes(num_classes: int | None = None) -> bytes:
    """Return `palette` as the 768 bytes of a palette PNG."""
    return palette(num_classes).tobytes()
