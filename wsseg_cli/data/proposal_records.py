"""The JSON in which proposals of an image are kept, SAM's, and how much of it is read."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, with_config
from typing_extensions import NotRequired, TypedDict

from ..disk.reading import MEGABYTE
from ..disk.records import OPEN
from ..errors import DataError
from ..ops.run_lengths import counts_of
from ..types import IntArray

LARGEST = 10 * MEGABYTE
"""Largest size in bytes of a proposals file of one image; that of a 12-megapixel photo has about a megabyte."""

MOST = 1 << 16
"""Proposals of one image; a label image of 16 bits has as many values."""

MOST_RUNS = 1 << 22
"""Run lengths of one proposal, and runs of one value in a label image."""

REMEDY = "expected proposals as `wsseg convert proposals` writes them, or SAM's own"


_Side = Annotated[int, Field(ge=0, lt=1 << 31)]


@with_config(OPEN)
class RunLengths(TypedDict):
    """COCO's run lengths: [height, width], and counts as numbers or as encoded text."""

    size: tuple[_Side, _Side]
    counts: str | list[int]


@with_config(OPEN)
class Record(TypedDict):
    """One proposal as SAM's automatic mask generator writes it."""

    segmentation: RunLengths
    predicted_iou: NotRequired[float]
    stability_score: NotRequired[float]


@with_config(OPEN)
class ImageSize(TypedDict, total=False):
    """Height and width that a file gives its image."""

    height: _Side
    width: _Side


@with_config(OPEN)
class Sa1b(TypedDict):
    """The proposals of one image in the format of SA-1B."""

    annotations: list[Record]
    image: NotRequired[ImageSize]


def check_counts(path: Path, proposals: int, runs: int = 0) -> None:
    """Refuse more proposals, or more runs of pixels, than an image has, before memory is taken for them.

    Raises:
        DataError: more than `MOST` or `MOST_RUNS`.
    """
    for count, most, what in ((proposals, MOST, "proposals"), (runs, MOST_RUNS, "runs of pixels")):
        if count > most:
            raise DataError(f"{path}: {count:,} {what}; at most {most:,} are read")


def checked_counts(counts: str | list[int], size: tuple[int, int], path: Path, number: int) -> IntArray:
    """Return run lengths that fill the image exactly.

    Raises:
        DataError: they do not; names file and proposal.
    """
    check_counts(path, 1, len(counts))
    pixels = size[0] * size[1]
    try:
        lengths = counts_of(counts) if isinstance(counts, str) else np.array(counts, np.int64)
    except (ValueError, OverflowError) as error:
        raise DataError(f"{path}: proposal {number} has no run lengths ({error})") from None
    if (len(lengths) and (lengths.min() < 0 or lengths.max() > pixels)) or len(lengths) > 2 * pixels + 2:
        raise DataError(f"{path}: proposal {number} has run lengths beyond its {said(size)} pixels")
    if (total := int(lengths.sum())) != pixels:
        raise DataError(f"{path}: the runs of proposal {number} fill {total} pixels, the image has {said(size)}")
    return lengths


def said(size: Sequence[int]) -> str:
    """Return a size as people write it, WxH."""
    return f"{size[1]}x{size[0]}"
