"""Class colours for overlays on photos: distinct from each other and from grey, also for colour-blind viewers.

Mask files keep VOC's colour map. It does not work over photos: its seventh class is grey, and many pairs of its colours
look the same to viewers who cannot see red or green.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

from ..types import IGNORE, ByteArray

_Values = npt.NDArray[np.float64]

# Linear sRGB as seen without the cones for red (protanopia) or for green (deuteranopia): Machado, Oliveira
# and Fernandes, "A physiologically-based model for simulation of color vision deficiency", 2009, severity 1.
_PROTANOPIA = ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998))
_DEUTERANOPIA = ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.011820, 0.042940, 0.968881))
EYES: _Values = np.array([np.eye(3), _PROTANOPIA, _DEUTERANOPIA])
"""(3, 3, 3): transforms of linear sRGB for normal vision, without red, without green."""

# OKLab, in which equal distances look equally large: Björn Ottosson, 2020, https://bottosson.github.io/posts/oklab
_TO_CONES = np.array(
    (
        (0.4122214708, 0.5363325363, 0.0514459929),
        (0.2119034982, 0.6806995451, 0.1073969566),
        (0.0883024619, 0.2817188376, 0.6299787005),
    )
)
_TO_LAB = np.array(
    (
        (0.2104542553, 0.7936177850, -0.0040720468),
        (1.9779984951, -2.4285922050, 0.4505937099),
        (0.0259040371, 0.7827717662, -0.8086757660),
    )
)

_PAIRS = np.array((0.5, 1.0, 1.0))
"""Weights of the distance of two classes for each kind of vision: normal vision sees more and gets larger distances."""
_GREY = np.array((0.75, 1.5, 1.5))
"""Weight of the distance from grey: two thirds of the distance between two classes are enough."""
_LIGHTNESS = (0.35, 0.95)
"""Darker or lighter colours look like shadow or sky."""


def seen(colours: npt.ArrayLike) -> _Values:
    """Return (3, N, 3) OKLab: sRGB colours (N, 3), 0..255, as seen by each of `EYES`."""
    values = np.asarray(colours, np.float64) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    cones = np.clip(linear @ EYES.transpose(0, 2, 1), 0, 1) @ _TO_CONES.T
    lab: _Values = np.cbrt(cones) @ _TO_LAB.T
    return lab


@lru_cache(maxsize=8)
def overlay_colours(count: int) -> ByteArray:
    """Return (count, 3) uint8 sRGB, each colour as far as possible from grey and from those before it.

    The first colours do not depend on how many follow: a class keeps its colour when classes are added.
    """
    steps = np.arange(0, 256, 15)
    candidates = np.stack(np.meshgrid(steps, steps, steps, indexing="ij"), axis=-1).reshape(-1, 3)
    labs = seen(candidates)
    usable = (labs[0, :, 0] >= _LIGHTNESS[0]) & (labs[0, :, 0] <= _LIGHTNESS[1])
    candidates, labs = candidates[usable], labs[:, usable]
    greys = seen(np.repeat(steps[:, None], 3, axis=1))
    from_grey = np.linalg.norm(labs[:, :, None] - greys[:, None], axis=-1).min(axis=2)
    nearest = (from_grey * _GREY[:, None]).min(axis=0)
    chosen = []
    for _ in range(count):
        best = int(nearest.argmax())
        chosen.append(candidates[best])
        away = np.linalg.norm(labs - labs[:, best : best + 1], axis=-1)
        nearest = np.minimum(nearest, (away * _PAIRS[:, None]).min(axis=0))
    return np.array(chosen, np.uint8).reshape(count, 3)


def overlay_palette(num_classes: int) -> ByteArray:
    """Return (256, 3) uint8 colours of mask values over photos: 1..C by `overlay_colours`, 255 white, others black."""
    colours = np.zeros((IGNORE + 1, 3), np.uint8)
    colours[1 : num_classes + 1] = overlay_colours(num_classes)
    colours[IGNORE] = 255
    return colours
