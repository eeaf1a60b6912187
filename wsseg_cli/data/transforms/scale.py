"""Random sizes and horizontal flips of an image and its aligned maps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from ...ops.opencv import OpenCV
from ...ops.resize import (
    Interpolation,
    long_side_size,
    nearest_resize,
    pillow_resize,
    resize_image,
    scaled_size,
)
from ...types import resize_scores
from .step import Arrays, greys, image_size


@dataclass(frozen=True)
class ResizeLong:
    """Longer side uniform in [shortest, longest], both ends included (PSA and all methods based on it).

    The saliency is resized bicubically like the image (EPS); the mask by Pillow's nearest rule.
    """

    shortest: int
    longest: int

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> int:
        """Return the new length of the longer side in pixels."""
        return int(rng.integers(self.shortest, self.longest + 1))

    def apply(self, arrays: Arrays, drawn: int) -> Arrays:
        """Return the arrays with the longer side `drawn`."""
        return resize(arrays, long_side_size(image_size(arrays), drawn))


@dataclass(frozen=True)
class Rescale:
    """Both sides times one factor: one of `choices`, or uniform in `between`.

    `opencv_linear` truncates the size and keeps a float image (deeplab-pytorch), `opencv_cubic` rounds half to even and
    takes OpenCV's nearest rule for masks (semantic-segmentation-codebase).
    """

    choices: tuple[float, ...] = ()
    between: tuple[float, float] | None = None
    interpolation: Interpolation = "pillow_bicubic"
    opencv: OpenCV = "emulated"

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> float:
        """Return the factor."""
        if self.between is not None:
            return float(rng.uniform(*self.between))
        return float(self.choices[int(rng.integers(len(self.choices)))])

    def apply(self, arrays: Arrays, drawn: float) -> Arrays:
        """Return the arrays at `drawn` times their size."""
        rounding: Literal["round", "floor"] = "floor" if self.interpolation == "opencv_linear" else "round"
        size = scaled_size(image_size(arrays), drawn, rounding)
        return resize(arrays, size, self.interpolation, drawn, self.opencv)


@dataclass(frozen=True)
class Flip:
    """Horizontal flip with probability `p`."""

    p: float = 0.5

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> bool:
        """Return whether to flip."""
        return bool(rng.random() < self.p)

    def apply(self, arrays: Arrays, drawn: bool) -> Arrays:
        """Return the arrays, flipped if `drawn`."""
        if not drawn:
            return arrays
        flipped = dict(arrays)
        for name in ("image", "mask", *greys(arrays)):
            if name in arrays:
                flipped[name] = arrays[name][:, ::-1]
        if "scores" in arrays:
            flipped["scores"] = arrays["scores"][:, :, ::-1]
        return flipped


def resize(
    arrays: Arrays,
    size: tuple[int, int],
    interpolation: Interpolation = "pillow_bicubic",
    factor: float | None = None,
    opencv: OpenCV = "emulated",
) -> Arrays:
    """Return the arrays at `size` (H, W).

    factor: only if the size comes from one (see `opencv_resize`). opencv: what computes the OpenCV interpolations.
    """
    resized = dict(arrays)
    resized["image"] = resize_image(arrays["image"], size, interpolation, factor, opencv)
    for name in greys(arrays):
        resized[name] = pillow_resize(arrays[name], size)
    if "mask" in arrays:
        if interpolation == "opencv_cubic":
            resized["mask"] = nearest_resize(arrays["mask"], size, factor)
        else:
            resized["mask"] = pillow_resize(arrays["mask"], size, "nearest")
    if "scores" in arrays:
        resized["scores"] = resize_scores(arrays["scores"], size)
    return resized
