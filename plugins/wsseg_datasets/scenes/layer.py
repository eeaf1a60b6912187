"""One object on a layer of its own, drawn from polygons at several times the size of the scene."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from wsseg_cli.types import FloatArray

OVERSAMPLE = 2
"""Layers are this much larger than the scene and reduced by boxes, which smooths the edges."""


class Layer:
    """Colour and coverage of one object.

    Drawings use the object's own unit: its height is 1, u runs to the right from its left end, v upwards from the
    ground. A flipped object is drawn with the same calls.
    """

    def __init__(
        self, size: tuple[int, int], x: float, base: float, height: float, width: float = 0.0, *, flipped: bool = False
    ) -> None:
        """size: (W, H) of the scene; x, base, height: left end, ground line and height of the object in its pixels."""
        self.size = size
        self.unit = height * OVERSAMPLE
        self.direction = -1 if flipped else 1
        self.left = (x + (width * height if flipped else 0.0)) * OVERSAMPLE
        self.ground = base * OVERSAMPLE
        large = (size[0] * OVERSAMPLE, size[1] * OVERSAMPLE)
        self._colour = Image.new("RGB", large)
        self._coverage = Image.new("L", large)
        self._draw_colour = ImageDraw.Draw(self._colour)
        self._draw_coverage = ImageDraw.Draw(self._coverage)

    def polygon(self, points: Iterable[Sequence[float]], colour: Sequence[float] | FloatArray) -> None:
        """Fill the polygon through `points` (u, v)."""
        corners = [(self.left + self.direction * u * self.unit, self.ground - v * self.unit) for u, v in points]
        red, green, blue = (min(255, max(0, int(channel))) for channel in colour)
        self._draw_colour.polygon(corners, fill=(red, green, blue))
        self._draw_coverage.polygon(corners, fill=255)

    def rectangle(self, u0: float, v0: float, u1: float, v1: float, colour: Sequence[float] | FloatArray) -> None:
        """Fill the rectangle between two corners."""
        self.polygon([(u0, v0), (u1, v0), (u1, v1), (u0, v1)], colour)

    def ellipse(
        self, u: float, v: float, ru: float, rv: float, colour: Sequence[float] | FloatArray, tilt: float = 0.0
    ) -> None:
        """Fill the ellipse around (u, v) with radii ru, rv, turned by `tilt` radians."""
        turn = np.linspace(0, 2 * np.pi, 28)
        a, b = ru * np.cos(turn), rv * np.sin(turn)
        cosine, sine = math.cos(tilt), math.sin(tilt)
        self.polygon(np.stack([u + a * cosine - b * sine, v + a * sine + b * cosine], axis=1), colour)

    def colour(self) -> FloatArray:
        """Return the colours, (H, W, 3) in 0..255, oversampled."""
        return np.asarray(self._colour, np.float32)

    def coverage(self, *, shrink: int = 0, blur: float = 0.0) -> FloatArray:
        """Return the coverage, (H, W, 1) in [0, 1], oversampled; shrink, blur: in its own pixels."""
        image = self._coverage
        if shrink:
            image = image.filter(ImageFilter.MinFilter(2 * shrink + 1))
        if blur:
            image = image.filter(ImageFilter.GaussianBlur(blur))
        return np.asarray(image, np.float32)[..., None] / np.float32(255)

    def mask(self) -> npt.NDArray[np.bool_]:
        """Return the pixels of the scene, (H, W), that the object covers by more than half."""
        return np.asarray(self._coverage.resize(self.size, Image.Resampling.BOX)) > 127
