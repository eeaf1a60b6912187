"""Colour changes of the uint8 image, and its normalisation. Masks and saliency are not affected."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from ...ops import opencv
from ...ops.opencv import OpenCV
from ...types import ByteArray, IntArray, Normalization
from .step import Arrays, greys


@dataclass(frozen=True)
class Jitter:
    """One draw of `ColorJitter`.

    order is a permutation of 0 brightness, 1 contrast, 2 saturation, 3 hue; hue is a rotation in [-0.5, 0.5], in turns;
    the other three are multipliers.
    """

    order: tuple[int, ...]
    brightness: float
    contrast: float
    saturation: float
    hue: float


@dataclass(frozen=True)
class ColorJitter:
    """Brightness, contrast, saturation and hue in random order, like torchvision's ColorJitter on a Pillow image.

    The four numbers are the half widths: multipliers in [max(0, 1 - b), 1 + b], hue in [-h, h] turns.
    """

    brightness: float
    contrast: float
    saturation: float
    hue: float

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Jitter:
        """Return the order and the four factors."""
        order = tuple(int(i) for i in rng.permutation(4))
        widths = (self.brightness, self.contrast, self.saturation)
        b, c, s = (float(rng.uniform(max(0.0, 1 - w), 1 + w)) for w in widths)
        return Jitter(order, b, c, s, float(rng.uniform(-self.hue, self.hue)))

    def apply(self, arrays: Arrays, drawn: Jitter) -> Arrays:
        """Return the arrays with the image's colours changed."""
        return {**arrays, "image": color_jitter(arrays["image"], drawn)}


def color_jitter(image: ByteArray, jitter: Jitter) -> ByteArray:
    """Return image (H, W, 3) uint8 after the four changes in their order, each rounded to whole levels."""
    picture = Image.fromarray(np.ascontiguousarray(image))
    for change in jitter.order:
        if change == 0:
            picture = ImageEnhance.Brightness(picture).enhance(jitter.brightness)
        elif change == 1:
            picture = ImageEnhance.Contrast(picture).enhance(jitter.contrast)
        elif change == 2:
            picture = ImageEnhance.Color(picture).enhance(jitter.saturation)
        else:
            hue, saturation, value = picture.convert("HSV").split()
            # Truncated towards zero, then wrapped to one byte: a rotation of less than 1/255 changes nothing.
            turned = (np.asarray(hue, np.int32) + int(jitter.hue * 255)) % 256
            picture = Image.merge("HSV", (Image.fromarray(turned.astype(np.uint8)), saturation, value)).convert("RGB")
    return np.asarray(picture)


@dataclass(frozen=True)
class HsvShift:
    """Integers added to hue, saturation and value in OpenCV's HSV (semantic-segmentation-codebase).

    Each is uniform in [-width, width], both ends included; hue runs from 0 to 179 and wraps, the others clip.
    """

    hue: int = 10
    saturation: int = 10
    value: int = 10
    opencv: OpenCV = "emulated"

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> tuple[int, int, int]:
        """Return the three shifts."""
        h, s, v = (int(rng.integers(-width, width + 1)) for width in (self.hue, self.saturation, self.value))
        return h, s, v

    def apply(self, arrays: Arrays, drawn: tuple[int, int, int]) -> Arrays:
        """Return the arrays with the image's colours shifted."""
        shift = opencv.hsv_shift if self.opencv == "library" else hsv_shift
        return {**arrays, "image": shift(arrays["image"], *drawn)}


def hsv_shift(image: ByteArray, hue: int, saturation: int, value: int) -> ByteArray:
    """Return image (H, W, 3) uint8 RGB with hue (half degrees), saturation and value (levels) shifted."""
    h, s, v = _to_hsv(image)
    return _from_hsv((h + hue) % 180, np.clip(s + saturation, 0, 255), np.clip(v + value, 0, 255))


def _to_hsv(image: ByteArray) -> tuple[IntArray, IntArray, IntArray]:
    # OpenCV divides by multiplying by multiples of 1/4096; the rounding shows in single levels.
    rgb = image.astype(np.int64)
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    high = rgb.max(axis=2)
    spread = high - rgb.min(axis=2)
    levels = np.maximum(np.arange(256), 1)
    per_value = np.rint(255 * 4096 / levels).astype(np.int64)
    per_spread = np.rint(30 * 4096 / levels).astype(np.int64)
    turn = np.where(
        high == red,
        green - blue,
        np.where(high == green, blue - red + 2 * spread, red - green + 4 * spread),
    )
    hue = (turn * per_spread[spread] + 2048) >> 12
    saturation = (spread * per_value[high] + 2048) >> 12
    return hue % 180, saturation, high


def _from_hsv(h: IntArray, s: IntArray, v: IntArray) -> ByteArray:
    sector = h / 30
    part = sector - np.floor(sector)
    share = s / 255
    p, q, t = v * (1 - share), v * (1 - share * part), v * (1 - share * (1 - part))
    which = np.floor(sector).astype(np.int64) % 6
    red = np.choose(which, [v, q, p, p, t, v])
    green = np.choose(which, [t, v, v, q, p, p])
    blue = np.choose(which, [p, p, t, v, v, q])
    levels = np.stack([red, green, blue], axis=2)
    # OpenCV's vector code truncates fractions, 32 columns at a time; its scalar code rounds the remaining columns.
    vector = levels.shape[1] // 32 * 32
    levels[:, :vector] = np.floor(levels[:, :vector] + 1e-4)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Normalize:
    """Pixels as the network expects them, still (H, W, 3) but float32; saliency is divided by 255."""

    normalization: Normalization

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        """Return nothing: normalising is not random."""

    def apply(self, arrays: Arrays, drawn: None = None) -> Arrays:
        """Return the normalised arrays."""
        normalised = {**arrays, "image": self.normalization.apply(arrays["image"])}
        for name in greys(arrays):
            normalised[name] = np.asarray(arrays[name], np.float32) / np.float32(255)
        return normalised
