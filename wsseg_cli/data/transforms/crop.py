"""Square crops: at a random place with padding, at the centre, or of a random area resized to the square."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...types import IGNORE
from .scale import resize
from .step import Arrays, greys

Sampler = Literal["tv021", "torchvision"]


@dataclass(frozen=True)
class CropBox:
    """A window of the image and its position in a square canvas, in pixels."""

    side: int
    top: int
    left: int
    canvas_top: int
    canvas_left: int
    height: int
    width: int

    @property
    def canvas(self) -> tuple[int, int, int, int]:
        """(xmin, ymin, xmax, ymax) of the image inside the canvas, ends exclusive."""
        left, top = self.canvas_left, self.canvas_top
        return left, top, left + self.width, top + self.height


@dataclass(frozen=True)
class Crop:
    """A square window; smaller images are padded: image, saliency and scores with 0, masks with 255.

    After `Normalize` 0 is the mean colour; before it, black (AffinityNet's published order).

    Attributes:
        side: side of the square in pixels.
        placement: where a smaller image is placed: "random", or "corner" (padding at bottom and right).
        box: also return `box` (4,) int64, the place of the image inside the canvas, as `CropBox.canvas`.
    """

    side: int
    placement: Literal["random", "corner"] = "random"
    box: bool = False

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> CropBox:
        """Return the window: one draw for the width, then one for the height."""
        height, width = size
        left, canvas_left = self._offset(rng, width)
        top, canvas_top = self._offset(rng, height)
        return CropBox(self.side, top, left, canvas_top, canvas_left, min(height, self.side), min(width, self.side))

    def _offset(self, rng: np.random.Generator, length: int) -> tuple[int, int]:
        room = length - self.side
        if room > 0:
            return int(rng.integers(room + 1)), 0
        if self.placement == "corner":
            return 0, 0
        return 0, int(rng.integers(-room + 1))

    def apply(self, arrays: Arrays, drawn: CropBox) -> Arrays:
        """Return the arrays inside the window, (side, side)."""
        cropped = crop(arrays, drawn)
        if self.box:
            cropped["box"] = np.asarray(drawn.canvas, np.int64)
        return cropped


def crop(arrays: Arrays, box: CropBox) -> Arrays:
    """Return the arrays inside `box`; canvas pixels that the window does not cover are 0, in masks 255."""
    cropped = dict(arrays)
    for name in ("image", "mask", *greys(arrays)):
        if name in arrays:
            cropped[name] = window(arrays[name], box, IGNORE if name == "mask" else 0)
    if "scores" in arrays:
        cropped["scores"] = np.stack([window(score, box, 0) for score in arrays["scores"]])
    return cropped


def window(array: npt.NDArray[Any], box: CropBox, fill: float) -> npt.NDArray[Any]:
    """Return an array (H, W, …) inside `box`, (side, side, …), with `fill` outside the window."""
    canvas = np.full((box.side, box.side, *array.shape[2:]), fill, array.dtype)
    rows = slice(box.canvas_top, box.canvas_top + box.height)
    columns = slice(box.canvas_left, box.canvas_left + box.width)
    canvas[rows, columns] = array[box.top : box.top + box.height, box.left : box.left + box.width]
    return canvas


@dataclass(frozen=True)
class ResizedCrop:
    """A random rectangle of the image, resized to a square; its aspect ratio is not kept.

    Attributes:
        side: side of the square in pixels.
        area: share of the image's area, uniform in this range.
        ratio: width / height of the rectangle.
        sampler: `tv021` samples like torchvision 0.2.1, with which the single-stage model was published; `torchvision`
            like later versions. They differ a lot: for 500x333 photos `tv021` always takes the centred square.
    """

    side: int
    area: tuple[float, float] = (0.9, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    sampler: Sampler = "tv021"

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Return (top, left, height, width)."""

        def integer(low: int, high: int) -> int:
            return int(rng.integers(low, high + 1))

        uniform: Callable[[float, float], float] = lambda low, high: float(rng.uniform(low, high))  # noqa: E731
        draw = rectangle_tv021 if self.sampler == "tv021" else rectangle_torchvision
        return draw(size, self.area, self.ratio, uniform=uniform, integer=integer)

    def apply(self, arrays: Arrays, drawn: tuple[int, int, int, int]) -> Arrays:
        """Return the arrays inside the rectangle at (side, side): image bicubic, mask nearest."""
        top, left, height, width = drawn
        rows, columns = slice(top, top + height), slice(left, left + width)
        cut = dict(arrays)
        for name in ("image", "mask", *greys(arrays)):
            if name in arrays:
                cut[name] = np.ascontiguousarray(arrays[name][rows, columns])
        if "scores" in arrays:
            cut["scores"] = arrays["scores"][:, rows, columns]
        return resize(cut, (self.side, self.side))


def rectangle_tv021(
    size: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
    *,
    uniform: Callable[[float, float], float],
    integer: Callable[[int, int], int],
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) of a rectangle as sampled by torchvision 0.2.1.

    uniform(low, high) and integer(low, high), both ends included, are the random draws. Each of ten tries draws in this
    order: area, ratio (linear), a coin flip uniform(0, 1) < 0.5 that swaps the sides, then, if it fits, top and left.
    After ten failures the result is the centred square of the shorter side.
    """
    height, width = size
    for _ in range(10):
        pixels = uniform(*area) * height * width
        aspect = uniform(*ratio)
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if uniform(0.0, 1.0) < 0.5:
            w, h = h, w
        if w <= width and h <= height:
            top = integer(0, height - h)
            return top, integer(0, width - w), h, w
    short = min(height, width)
    return (height - short) // 2, (width - short) // 2, short, short


def rectangle_torchvision(
    size: tuple[int, int],
    area: tuple[float, float],
    ratio: tuple[float, float],
    *,
    uniform: Callable[[float, float], float],
    integer: Callable[[int, int], int],
) -> tuple[int, int, int, int]:
    """Return (top, left, height, width) as sampled by later torchvision: ratio log-uniform, no swap.

    After ten failures the result is the largest centred rectangle with an allowed ratio.
    """
    height, width = size
    for _ in range(10):
        pixels = uniform(*area) * height * width
        aspect = math.exp(uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = round(math.sqrt(pixels * aspect)), round(math.sqrt(pixels / aspect))
        if 0 < w <= width and 0 < h <= height:
            top = integer(0, height - h)
            return top, integer(0, width - w), h, w
    w, h = width, height
    if width / height < ratio[0]:
        h = round(width / ratio[0])
    elif width / height > ratio[1]:
        w = round(height * ratio[1])
    return (height - h) // 2, (width - w) // 2, h, w
