"""The regions, each with a label, that labelling tools use instead of masks: found in a mask, painted into one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ..errors import DataError
from ..types import ByteArray, IntArray

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Region:
    """Pixels with one label: (h, w) bool `inside` a box whose first row and column are `top` and `left`."""

    label: str
    top: int
    left: int
    inside: BoolArray

    def lengths(self, size: tuple[int, int], order: Literal["rows", "columns"]) -> list[int]:
        """Return run lengths over a (H, W) image along its rows or columns: outside, inside, outside, …

        The first may be 0. They add up to H * W; a last one of 0 is left out.
        """
        height, width = size
        if order == "rows":
            rows, columns = np.nonzero(self.inside)
            places = (rows + self.top) * width + columns + self.left
        else:
            columns, rows = np.nonzero(self.inside.T)
            places = (columns + self.left) * height + rows + self.top
        return _lengths(places, height * width)

    def lengths_in_box(self) -> list[int]:
        """Return run lengths along the rows of just the box."""
        return _lengths(np.flatnonzero(self.inside), self.inside.size)


def _lengths(places: IntArray, total: int) -> list[int]:
    """Return the run lengths of ascending places among `total`; a last one of 0 is left out."""
    breaks = np.flatnonzero(np.diff(places) != 1)
    starts, ends = places[np.concatenate([[0], breaks + 1])], places[np.concatenate([breaks, [-1]])] + 1
    bounds = np.stack([starts, ends], axis=1).ravel()
    lengths: list[int] = np.diff(np.concatenate([[0], bounds, [total]])).tolist()
    return lengths if lengths[-1] else lengths[:-1]


@dataclass(frozen=True)
class Picture:
    """A photo and its mask, to be exported to a labelling tool.

    Attributes:
        image_id: id in the run, or the mask's name without suffix.
        file_name: name of the photo, as the tool knows it.
        mask: (H, W) uint8 class values.
        score: confidence in the mask, for tools that sort by it.
    """

    image_id: str
    file_name: str
    mask: ByteArray
    score: float | None = None

    @property
    def size(self) -> tuple[int, int]:
        """(H, W)."""
        return int(self.mask.shape[0]), int(self.mask.shape[1])


@dataclass(frozen=True)
class Drawing:
    """A photo in a labelling tool's file: its name there, its (H, W), and its regions in painting order.

    Attributes:
        regions: (label, the tool's form of the region, which the tool's `inside` turns into pixels).
    """

    file_name: str
    size: tuple[int, int]
    regions: Sequence[tuple[str, Any]]
    image_id: str | None = None


@dataclass(frozen=True)
class Drawings:
    """The content of a labelling tool's file: labels in its order, None if it does not list them; photos; remarks."""

    labels: list[str] | None
    pictures: list[Drawing]
    notes: list[str]


Inside = Callable[[Any, tuple[int, int]], BoolArray]
"""(a tool's form of a region, (H, W)) -> (H, W) bool; raises DataError for one that cannot be painted."""


def regions_of(mask: ByteArray, labels: Mapping[int, str], instances: bool = False) -> Iterator[Region]:
    """Yield the regions of a (H, W) mask by ascending value: one per value, or one per connected component.

    labels: by mask value; other values give no regions. instances: components whose pixels touch by side or corner.
    """
    from scipy import ndimage

    for value in np.unique(mask).tolist():
        if value not in labels:
            continue
        found = mask == value
        if instances:
            numbers, _ = ndimage.label(found, np.ones((3, 3)))
        else:
            numbers = found.astype(np.uint8)
        for number, box in enumerate(ndimage.find_objects(numbers), 1):
            yield Region(labels[value], box[0].start, box[1].start, numbers[box] == number)


def painted(drawing: Drawing, values: Mapping[str, int], inside: Inside) -> ByteArray:
    """Return the (H, W) mask of a drawing; a later region takes the pixels of an earlier one, the rest is 0.

    values: mask value by label.

    Raises:
        DataError: a region cannot be painted; names the photo and the label.
    """
    mask = np.zeros(drawing.size, np.uint8)
    for number, (label, region) in enumerate(drawing.regions, 1):
        try:
            mask[inside(region, drawing.size)] = values[label]
        except DataError as error:
            raise DataError(f"{drawing.file_name}: region {number}, {label!r:.60}: {error}") from None
    return mask


def from_lengths(lengths: Sequence[int], size: tuple[int, int]) -> BoolArray:
    """Return the (H, W) bool pixels of run lengths along rows: outside, inside, outside, …

    Raises:
        DataError: a length is negative, or they add up to more than H * W, or to less without just omitting the last
            outside run.
    """
    total = size[0] * size[1]
    if any(type(length) is not int or not 0 <= length <= total for length in lengths):
        raise DataError(f"run lengths that are no whole numbers from 0 to {total}")
    reached = sum(lengths)
    if reached > total or (reached < total and len(lengths) % 2):
        raise DataError(f"run lengths of {reached} pixels; there are {size[1]}x{size[0]}")
    counts = np.asarray([*lengths, total - reached], np.int64)
    return np.repeat(np.arange(len(counts)) % 2 == 1, counts).reshape(size)
