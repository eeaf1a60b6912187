"""Smooth noise and colours that vary: what every surface of a scene is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from wsseg_cli.types import FloatArray

Colour = FloatArray
"""(3,) RGB in 0..255."""


def fractal(
    rng: np.random.Generator, height: int, width: int, cells: int, octaves: int = 3, stretch: float = 1.0
) -> FloatArray:
    """Return smooth noise of about [-1, 1], (height, width).

    cells: lattice cells over the height in the coarsest octave; stretch above 1 makes horizontal streaks.
    """
    total = np.zeros((height, width), np.float32)
    for octave in range(octaves):
        rows = cells * 2**octave
        columns = max(2, int(rows * width / height / stretch) + 1)
        lattice = rng.standard_normal((rows + 1, columns)).astype(np.float32)
        total += np.asarray(Image.fromarray(lattice).resize((width, height), Image.Resampling.BICUBIC)) * 0.5**octave
    return total / 1.5


def vary(rng: np.random.Generator, colour: Sequence[float] | FloatArray, sd: float) -> Colour:
    """Return a colour near `colour`; sd: standard deviation of each channel, of 255."""
    return np.clip(np.asarray(colour, np.float32) + rng.normal(0, sd, 3), 20, 240).astype(np.float32)
