"""Class-agnostic mask proposals of an image, as runs of pixels: COCO's run lengths in, areas, overlaps, unions out.

A proposal is never stored as pixels: files can hold thousands of them, of any size.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..disk.reading import read_bytes
from ..disk.records import parse_record
from ..errors import DataError
from ..ops.run_lengths import text_of
from ..types import IntArray
from .files import file_stem, write_text
from .images import check_pixels
from .proposal_records import LARGEST, REMEDY, ImageSize, Record, Sa1b, check_counts, checked_counts, said

QUALITY = ("predicted_iou", "stability_score")
"""Scores that SAM gives each of its proposals."""


@dataclass(frozen=True)
class Proposals:
    """J proposals of one image; they may overlap, nest and leave gaps.

    Attributes:
        size: (H, W) of the image in pixels.
        starts, ends: (R,) int64, runs of pixels counted down the columns, ends exclusive.
        offsets: (J + 1,) int64, where the runs of each proposal begin.
        quality: (J,) float64 each, keyed by the names in `QUALITY` that are known.
    """

    size: tuple[int, int]
    starts: IntArray
    ends: IntArray
    offsets: IntArray
    quality: Mapping[str, npt.NDArray[np.float64]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @classmethod
    def from_counts(cls, size: tuple[int, int], counts: Iterable[IntArray], **quality: Any) -> Proposals:
        """Return proposals from run lengths (n,) each: unset pixels first, down the columns."""
        edges = [np.cumsum(one, dtype=np.int64) for one in counts]
        starts = [one[0 : len(one) // 2 * 2 : 2] for one in edges]
        ends = [one[1::2] for one in edges]
        real = [a < b for a, b in zip(starts, ends, strict=True)]
        offsets = np.cumsum([0, *(int(one.sum()) for one in real)], dtype=np.int64)
        begin, end = (_joined([a[r] for a, r in zip(part, real, strict=True)]) for part in (starts, ends))
        return cls(size, begin, end, offsets, quality)

    @classmethod
    def from_masks(cls, masks: Sequence[npt.NDArray[np.bool_]], size: tuple[int, int]) -> Proposals:
        """Return proposals from masks (H, W) of equal size."""
        return cls.from_counts(size, [_counts_of(mask) for mask in masks])

    @classmethod
    def from_regions(cls, regions: npt.NDArray[np.integer[Any]], zero: bool = True) -> Proposals:
        """Return the regions of a label image (H, W), one per value, ascending; `zero`: 0 is a region, too."""
        flat = regions.ravel(order="F")
        begins = np.flatnonzero(np.concatenate([[True], flat[1:] != flat[:-1]]))
        ends = np.append(begins[1:], flat.size)
        values = flat[begins]
        order = np.argsort(values, kind="stable")
        if not zero:
            order = order[values[order] != 0]
        _, first = np.unique(values[order], return_index=True)
        offsets = np.append(first, len(order)).astype(np.int64)
        size = (int(regions.shape[0]), int(regions.shape[1]))
        return cls(size, begins[order].astype(np.int64), ends[order].astype(np.int64), offsets)

    @property
    def areas(self) -> IntArray:
        """Pixels of each proposal, (J,)."""
        return self._summed(self.ends - self.starts)

    def overlaps(self, mask: npt.NDArray[np.bool_]) -> IntArray:
        """Return how many pixels of each proposal, (J,), are in a mask (H, W)."""
        before = np.concatenate([[0], np.cumsum(mask.ravel(order="F"), dtype=np.int64)])
        return self._summed(before[self.ends] - before[self.starts])

    def union(self, chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
        """Return the union (H, W) of the chosen proposals (J,)."""
        kept = np.repeat(chosen, np.diff(self.offsets))
        height, width = self.size
        steps = np.zeros(height * width + 1, np.int64)
        np.add.at(steps, self.starts[kept], 1)
        np.add.at(steps, self.ends[kept], -1)
        covered: npt.NDArray[np.bool_] = (np.cumsum(steps[:-1]) > 0).reshape(width, height).T
        return covered

    def mask(self, number: int) -> npt.NDArray[np.bool_]:
        """Return one proposal as a mask (H, W)."""
        return self.union(np.arange(len(self)) == number)

    @property
    def boxes(self) -> IntArray:
        """[x, y, w, h] of each proposal as in SAM, (J, 4): w and h are one less than the extent; 0 if empty."""
        height = max(self.size[0], 1)
        left, right = self.starts // height, (self.ends - 1) // height
        within = left == right  # a run that continues in the next column covers the last row and the first
        top = np.where(within, self.starts % height, 0)
        bottom = np.where(within, (self.ends - 1) % height, height - 1)
        filled = np.diff(self.offsets) > 0
        boxes = np.zeros((len(self), 4), np.int64)
        if filled.any():
            at = self.offsets[:-1][filled]
            x, y = np.minimum.reduceat(left, at), np.minimum.reduceat(top, at)
            far = np.maximum.reduceat(right, at) - x, np.maximum.reduceat(bottom, at) - y
            boxes[filled] = np.stack([x, y, *far], 1)
        return boxes

    def counts(self, number: int) -> IntArray:
        """Return one proposal's run lengths."""
        runs = slice(self.offsets[number], self.offsets[number + 1])
        edges = np.stack([self.starts[runs], self.ends[runs]], 1).ravel()
        # runs that touch are merged, as an encoder of pixels would do
        apart = np.ones(len(edges), bool)
        touching = np.flatnonzero(edges[2::2] == edges[1:-1:2])
        apart[2 * touching + 1] = apart[2 * touching + 2] = False
        whole = np.concatenate([[0], edges[apart], [self.size[0] * self.size[1]]])
        counts: IntArray = np.diff(whole)
        return counts[:-1] if len(counts) > 1 and counts[-1] == 0 else counts

    def _summed(self, values: IntArray) -> IntArray:
        totals = np.concatenate([[0], np.cumsum(values, dtype=np.int64)])
        sums: IntArray = totals[self.offsets[1:]] - totals[self.offsets[:-1]]
        return sums


def _joined(parts: Sequence[IntArray]) -> IntArray:
    return np.concatenate([*parts, np.zeros(0, np.int64)]).astype(np.int64)


def _counts_of(mask: npt.NDArray[np.bool_]) -> IntArray:
    flat = mask.ravel(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    first = [0] if flat.size and flat[0] else []
    edges: IntArray = np.concatenate([[0], first, changes, [flat.size]]).astype(np.int64)
    return edges[1:] - edges[:-1]


class ProposalStore:
    """The proposals in one folder by image id, JSON in SAM's format; read on demand."""

    suffix = ".json"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, image_id: str) -> Path:
        """Return the file of an image, whether it exists or not."""
        return self.folder / (file_stem(image_id) + self.suffix)

    def read(self, image_id: str) -> Proposals:
        """Return the proposals of an image.

        Raises:
            DataError: there is no file, or it is not one of proposals; names it.
        """
        return read_proposals(self.path(image_id))

    def write(self, image_id: str, proposals: Proposals) -> None:
        """Write the proposals of an image, whole or not at all."""
        areas, boxes = proposals.areas.tolist(), proposals.boxes.tolist()
        records = [
            {
                "segmentation": {"size": list(proposals.size), "counts": text_of(proposals.counts(number))},
                "area": area,
                "bbox": boxes[number],
                **{name: float(values[number]) for name, values in proposals.quality.items()},
            }
            for number, area in enumerate(areas)
        ]
        sized = {"image": {"height": proposals.size[0], "width": proposals.size[1]}, "annotations": records}
        write_text(self.path(image_id), json.dumps(sized, separators=(",", ":")) + "\n")


def read_proposals(path: Path) -> Proposals:
    """Return the proposals in a file of SAM's automatic mask generator (a list), of SA-1B, or of ours.

    Raises:
        DataError: the file is missing, too large or in another format, or run lengths do not fit their image.
    """
    try:
        data = read_bytes(path, LARGEST)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file of proposals; an image without proposals has a file with []") from None
    except OSError as error:
        raise DataError(f"{path}: {error.strerror or error}") from error
    image: ImageSize = {}
    if data.lstrip()[:1] == b"[":
        records = parse_record(data, list[Record], str(path), REMEDY)
    else:
        whole = parse_record(data, Sa1b, str(path), REMEDY)
        records, image = whole["annotations"], whole.get("image", image)
    check_counts(path, len(records))
    sizes = {record["segmentation"]["size"] for record in records}
    if "height" in image and "width" in image:
        sizes.add((image["height"], image["width"]))
    if len(sizes) > 1:
        raise DataError(f"{path}: proposals of {len(sizes)} sizes, {' and '.join(map(said, sorted(sizes)[:3]))}")
    if not sizes:
        return Proposals.from_counts((0, 0), [])
    (size,) = sizes
    if min(size) < 1:
        raise DataError(f"{path}: an image of {said(size)} pixels")
    check_pixels(path, size[0] * size[1])
    counts = [checked_counts(record["segmentation"]["counts"], size, path, n) for n, record in enumerate(records)]
    known = [name for name in QUALITY if records and all(name in record for record in records)]
    quality = {name: np.array([record[name] for record in records], np.float64) for name in known}  # type: ignore[literal-required]
    return Proposals.from_counts(size, counts, **quality)
