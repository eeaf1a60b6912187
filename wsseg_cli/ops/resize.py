"""Resampling of arrays as Pillow and OpenCV do it, and the size rules of the published pipelines. No files, no torch.

Which library resizes, and whether before or after normalisation, changes a published figure, so both are here by name.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..types import ByteArray, FloatArray, IntArray
from . import opencv

Kernel = Literal["bicubic", "bilinear", "nearest"]
Interpolation = Literal["pillow_bicubic", "pillow_bilinear", "opencv_cubic", "opencv_linear"]
Size = tuple[int, int]

_PILLOW = {
    "bicubic": Image.Resampling.BICUBIC,
    "bilinear": Image.Resampling.BILINEAR,
    "nearest": Image.Resampling.NEAREST,
}


def long_side_size(size: Size, longer: int) -> Size:
    """Return (H, W) with the longer side scaled to `longer`; the other is rounded half to even.

    As in PSA, the width counts as the longer of two equal sides.
    """
    height, width = size
    if width < height:
        return longer, max(1, round(width * longer / height))
    return max(1, round(height * longer / width)), longer


def scaled_size(size: Size, scale: float, rounding: Literal["round", "floor"] = "round") -> Size:
    """Return (H, W) times `scale`: `round` is half to even (PSA, SEAM, EPS), `floor` truncates (deeplab-pytorch)."""
    whole = round if rounding == "round" else int
    return max(1, whole(size[0] * scale)), max(1, whole(size[1] * scale))


def strided_size(size: Size, stride: int) -> Size:
    """Return (h, w) of the feature map that a network of this stride gives for an image of `size`."""
    return (size[0] - 1) // stride + 1, (size[1] - 1) // stride + 1


def pillow_resize(array: ByteArray, size: Size, kernel: Kernel = "bicubic") -> ByteArray:
    """Return a uint8 array (H, W) or (H, W, 3) at `size` as Pillow resizes it: antialiased, rounded to whole levels."""
    if array.shape[:2] == tuple(size):
        return array
    height, width = size
    return np.asarray(Image.fromarray(array).resize((width, height), _PILLOW[kernel]))


def shrunk_size(size: Size, longest: int | None) -> Size:
    """Return (H, W) with the longer side at most `longest`; unchanged if it already is, or if `longest` is None."""
    if longest is None or max(size) <= longest:
        return size
    scale = longest / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def shrunk(array: ByteArray, longest: int | None) -> ByteArray:
    """Return an image (H, W, 3) or map (H, W) at its `shrunk_size`; the same array if that is its own size."""
    size = shrunk_size((int(array.shape[0]), int(array.shape[1])), longest)
    # a copy, since torch does not take read-only arrays
    return array if array.shape[:2] == size else np.array(pillow_resize(array, size))


def strips(size: tuple[int, int], pixels: int = 1 << 20) -> Iterator[slice]:
    """Return the rows of an image (H, W) in strips of about this many pixels, for work that takes memory."""
    step = max(1, pixels // size[1])
    return (slice(top, min(top + step, size[0])) for top in range(0, size[0], step))


def opencv_resize(
    array: npt.NDArray[Any], size: Size, kernel: Literal["cubic", "linear"], factor: float | None = None
) -> npt.NDArray[Any]:
    """Return an array (H, W) or (H, W, D) at `size` as OpenCV resizes it: half-pixel centres, no antialiasing.

    factor: the requested factor. OpenCV then steps by 1 / factor, not by the ratio of the rounded sizes. A
    uint8 array comes back rounded and clipped, any other as float32.
    """
    values = np.asarray(array, np.float32)
    for axis in (0, 1):
        values = _resample(values, axis, size[axis], kernel, factor)
    if array.dtype == np.uint8:
        return np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return values


def nearest_resize(array: npt.NDArray[Any], size: Size, factor: float | None = None) -> npt.NDArray[Any]:
    """Return an array (H, W, …) at `size` by OpenCV's nearest rule, source index floor(i / factor).

    Pillow and torch's "nearest-exact" take floor((i + 0.5) / factor) instead: `pillow_resize`, `shrink_mask`.
    """
    rows, columns = (
        np.minimum((np.arange(n) * (1 / factor if factor else array.shape[a] / n)).astype(np.int64), array.shape[a] - 1)
        for a, n in enumerate(size)
    )
    return array[rows][:, columns]


def resize_image(
    image: npt.NDArray[Any],
    size: Size,
    interpolation: Interpolation,
    factor: float | None = None,
    by: opencv.OpenCV = "emulated",
) -> Any:
    """Return image (H, W, 3) at `size`. The OpenCV kinds also take float images; the Pillow kinds are for uint8.

    `opencv_linear` of a uint8 image gives float32, as the Caffe-style pipeline that uses it keeps the fractions. by:
    which of the two computes the OpenCV kinds.

    Raises:
        RecipeError: OpenCV is asked for but not installed.
    """
    by_opencv = opencv.resize if by == "library" else opencv_resize
    if interpolation == "opencv_cubic":
        return by_opencv(image, size, "cubic", factor)
    if interpolation == "opencv_linear":
        return by_opencv(np.asarray(image, np.float32), size, "linear")
    return pillow_resize(image, size, "bicubic" if interpolation == "pillow_bicubic" else "bilinear")


def _resample(values: FloatArray, axis: int, length: int, kernel: str, factor: float | None) -> FloatArray:
    source = values.shape[axis]
    step = 1 / factor if factor else source / length
    centre = (np.arange(length) + 0.5) * step - 0.5
    first = np.floor(centre).astype(np.int64)
    part = (centre - first).astype(np.float32)
    terms = _cubic(first, part) if kernel == "cubic" else [(first, 1 - part), (first + 1, part)]
    shape = [1] * values.ndim
    shape[axis] = length
    total = None
    for index, weight in terms:
        term = np.take(values, np.clip(index, 0, source - 1), axis) * weight.reshape(shape)
        total = term if total is None else total + term
    return total  # type: ignore[return-value]


def _cubic(first: IntArray, part: FloatArray) -> list[tuple[IntArray, FloatArray]]:
    # a = -0.75 is OpenCV's (and torch's) cubic; Pillow has -0.5.
    a = np.float32(-0.75)
    near, far = (lambda t: ((a + 2) * t - (a + 3)) * t * t + 1), (lambda t: ((a * t - 5 * a) * t + 8 * a) * t - 4 * a)
    weights = [far(1 + part), near(part), near(1 - part), far(2 - part)]
    return [(first + k - 1, w.astype(np.float32)) for k, w in enumerate(weights)]
