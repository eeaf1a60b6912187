"""Masks from COCO's annotations: polygons and run lengths to pixels, as in COCO's own tools, objects to a class mask.

A polygon is drawn on a grid five times finer and sampled at the column centres; positions run down the columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numba
import numpy as np
import numpy.typing as npt

from ..disk.limits import max_pixels
from ..errors import DataError
from ..ops.run_lengths import counts_of
from ..types import IGNORE, ByteArray

Overlap = Literal["last", "first", "smallest"]
Crowd = Literal["paint", "ignore", "skip"]

_FAR = 1e6  # pixels; a coordinate beyond cannot be in a photo
_ROUND = 10_000  # pixels that an outline may have in addition to four per pixel of its image


def class_mask(
    objects: Sequence[tuple[int, Any, bool]],
    size: tuple[int, int],
    overlap: Overlap = "last",
    crowd: Crowd = "paint",
) -> ByteArray:
    """Return the (H, W) uint8 class mask of the objects in one image.

    objects: (mask value, segmentation, is a crowd) in the order of the file. overlap: which object gets a pixel that
    several cover; "smallest" is the one with the fewest pixels, the later one among equals. crowd: "paint" like any
    object, "ignore" as 255 in its turn, "skip".

    Raises:
        DataError: a segmentation is neither polygons nor run lengths of this size.
    """
    chosen = [entry for entry in objects if not (entry[2] and crowd == "skip")]
    values = [IGNORE if is_crowd and crowd == "ignore" else value for value, _, is_crowd in chosen]
    canvas = _Canvas(size)
    order = list(range(len(chosen)))
    if overlap == "first":
        order.reverse()
    elif overlap == "smallest":
        pixels = [int(canvas.draw(segmentation).sum()) for _, segmentation, _ in chosen]
        order.sort(key=lambda index: -pixels[index])
    painted = np.zeros(size[0] * size[1], np.uint8)
    for index in order:
        canvas.draw(chosen[index][1])
        _paint(painted, canvas.inside, values[index], canvas.low, canvas.high)
    return np.ascontiguousarray(painted.reshape(size[1], size[0]).T)


def object_mask(segmentation: Any, size: tuple[int, int]) -> ByteArray:
    """Return the (H, W) uint8 mask of one object: 1 inside, 0 outside.

    segmentation: polygons [[x, y, x, y, …], …], of which the union is taken, or run lengths {"size", "counts"}.

    Raises:
        DataError: the segmentation is neither, or its run lengths have another size.
    """
    canvas = _Canvas(size)
    canvas.draw(segmentation)
    return np.ascontiguousarray(canvas.inside.reshape(size[1], size[0]).T)


class _Canvas:
    """The pixels of one object, column by column, as COCO counts them; reused for the next object."""

    def __init__(self, size: tuple[int, int]) -> None:
        height, width = self.size = size
        if height < 1 or width < 1 or height * width > max_pixels():
            raise DataError(f"an image of {width}x{height} pixels cannot have a mask")
        self.inside = np.zeros(height * width, np.uint8)
        self.turns = np.zeros(height * width + 1, np.uint8)
        self.low, self.high = 0, -1

    def draw(self, segmentation: Any) -> ByteArray:
        """Return the part of `inside` from the first to the last pixel of an object; the previous one is cleared."""
        self.inside[self.low : self.high + 1] = 0
        self.low, self.high = len(self.inside), -1
        if isinstance(segmentation, dict):
            _fill_runs(self.inside, _runs(segmentation, self.size))
            self.low, self.high = 0, len(self.inside) - 1
        elif isinstance(segmentation, list) and segmentation:
            outlines = [_corners(polygon) for polygon in segmentation]
            _check_length(outlines, self.size)
            for corners in outlines:
                low, high = _turns(corners, *self.size, self.turns)
                _fill_turns(self.inside, self.turns, low, high)
                self.low, self.high = min(self.low, low), max(self.high, high)
        else:
            raise DataError(f"a segmentation of type {type(segmentation).__name__}; expected polygons or run lengths")
        return self.inside[self.low : self.high + 1]


def _corners(polygon: Any) -> npt.NDArray[np.float64]:
    try:
        flat = np.asarray(polygon, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError("a polygon with values that are not numbers") from error
    if flat.ndim != 1 or len(flat) < 6 or len(flat) % 2:
        raise DataError(f"a polygon of {flat.size} numbers; expected x and y of at least three corners")
    if not np.isfinite(flat).all() or np.abs(flat).max() > _FAR:
        raise DataError("a polygon with a corner far outside of any photo")
    return flat.reshape(-1, 2)


def _check_length(outlines: Sequence[npt.NDArray[np.float64]], size: tuple[int, int]) -> None:
    """Refuse an object whose outline would take minutes to trace: every pixel of it is a step."""
    length = sum(float(np.abs(np.roll(corners, -1, axis=0) - corners).max(axis=1).sum()) for corners in outlines)
    if length > 4 * size[0] * size[1] + _ROUND:
        raise DataError(f"polygons with an outline of {length:,.0f} pixels in an image of {size[1]}x{size[0]}")


def _runs(segmentation: dict[str, Any], size: tuple[int, int]) -> npt.NDArray[np.int64]:
    counts, said = segmentation.get("counts"), segmentation.get("size")
    if said != list(size):
        raise DataError(f"run lengths of size {said!r:.60}; the image has {list(size)}")
    if isinstance(counts, (str, bytes)):
        try:
            lengths = counts_of(counts if isinstance(counts, str) else counts.decode("ascii")).tolist()
        except ValueError as error:
            raise DataError(f"run lengths in a form that COCO does not use ({error})") from None
    else:
        if not isinstance(counts, list) or not all(type(count) is int for count in counts):
            raise DataError("run lengths that are not whole numbers")
        lengths = counts
    total = size[0] * size[1]
    if any(not 0 <= length <= total for length in lengths) or sum(lengths) != total:
        raise DataError(f"run lengths that do not add up to the {total} pixels of the image")
    return np.asarray(lengths, np.int64)


@numba.njit(cache=True, nogil=True)
def _turns(corners: npt.NDArray[np.float64], height: int, width: int, turns: npt.NDArray[np.uint8]) -> tuple[int, int]:
    """Mark in `turns` where a scan down the columns enters or leaves a polygon; return the first and last such place.

    turns: (W * H + 1,), zero before. A place that is crossed twice does not count.
    """
    fine = 5
    low, high = height * width, -1
    count = len(corners)
    started = False
    last_x = last_y = 0
    for corner in range(count):
        following = (corner + 1) % count
        # int() truncates towards zero, also for negative coordinates, as in the original
        from_x, from_y = int(fine * corners[corner, 0] + 0.5), int(fine * corners[corner, 1] + 0.5)
        to_x, to_y = int(fine * corners[following, 0] + 0.5), int(fine * corners[following, 1] + 0.5)
        wide, tall = abs(to_x - from_x), abs(to_y - from_y)
        flat = wide >= tall
        steps = wide if flat else tall
        # the slope is taken from the lower end, so that an edge gives the same pixels in both directions
        backwards = from_x > to_x if flat else from_y > to_y
        start_x, start_y, end_x, end_y = from_x, from_y, to_x, to_y
        if backwards:
            start_x, start_y, end_x, end_y = to_x, to_y, from_x, from_y
        slope = 0.0
        if steps > 0:
            slope = (end_y - start_y) / steps if flat else (end_x - start_x) / steps
        for step in range(steps + 1):
            along = steps - step if backwards else step
            if flat:
                x, y = start_x + along, int(start_y + slope * along + 0.5)
            else:
                x, y = int(start_x + slope * along + 0.5), start_y + along
            if started and x != last_x:
                left = min(x, last_x) if x < last_x else x - 1
                column = (left + 0.5) / fine - 0.5
                if np.floor(column) == column and 0 <= column <= width - 1:
                    row = (min(y, last_y) + 0.5) / fine - 0.5
                    row = np.ceil(min(max(row, 0.0), float(height)))
                    place = int(column) * height + int(row)
                    turns[place] ^= 1
                    low, high = min(low, place), max(high, place)
            started = True
            last_x, last_y = x, y
    return low, high


@numba.njit(cache=True, nogil=True)
def _fill_turns(inside: npt.NDArray[np.uint8], turns: npt.NDArray[np.uint8], low: int, high: int) -> None:
    """Set `inside` to 1 between alternate pairs of the `turns` in [low, high]; clear the turns."""
    within = 0
    for place in range(low, min(high + 1, len(inside))):
        within ^= turns[place]
        turns[place] = 0
        inside[place] |= within
    turns[-1] = 0


@numba.njit(cache=True, nogil=True)
def _fill_runs(inside: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64]) -> None:
    place = 0
    for index, length in enumerate(lengths):
        if index % 2:
            inside[place : place + length] = 1
        place += length


@numba.njit(cache=True, nogil=True)
def _paint(painted: npt.NDArray[np.uint8], inside: npt.NDArray[np.uint8], value: int, low: int, high: int) -> None:
    for place in range(low, min(high + 1, len(inside))):
        painted[place] = value if inside[place] else painted[place]
