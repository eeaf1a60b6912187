"""Objects of VOC's annotation files, and image labels made of them."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from wsseg_cli.disk.reading import read_bytes
from wsseg_cli.errors import DataError
from wsseg_cli.types import ClassNames, IntArray

_LARGEST = 4 << 20


@dataclass(frozen=True)
class Annotated:
    """One object of an annotation: its class, its box (left, top, right, bottom) in whole pixels, whether difficult."""

    name: str
    box: tuple[int, int, int, int]
    difficult: bool

    @property
    def flat(self) -> bool:
        """True if the box has no width or no height."""
        return self.box[2] <= self.box[0] or self.box[3] <= self.box[1]


def read_objects(path: Path) -> list[Annotated]:
    """Return the objects of an annotation file, as `parse_objects` does.

    Raises:
        DataError: missing, too large, no XML, or an object without name or box.
    """
    try:
        data = read_bytes(path, _LARGEST)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return parse_objects(data, str(path))


def parse_objects(data: bytes, said_by: str) -> list[Annotated]:
    """Return the objects of an annotation in the order of the file.

    Coordinates are cut at the point and clipped to [0, size - 1]. said_by: names the annotation in messages.

    Raises:
        DataError: no XML, one with entities, or an object without name or box.
    """
    if b"<!DOCTYPE" in data or b"<!ENTITY" in data:
        raise DataError(f"{said_by}: has a document type of its own, which VOC's annotations do not need")
    try:
        root = ElementTree.fromstring(data)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{said_by}: no XML ({error})") from error
    width, height = _whole(root, "size/width", said_by), _whole(root, "size/height", said_by)
    if width < 1 or height < 1:
        raise DataError(f"{said_by}: size {width}x{height}")
    found = []
    for entry in root.findall("object"):
        name = (entry.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{said_by}: an object without a name")
        corners = [_whole(entry, f"bndbox/{side}", said_by) for side in ("xmin", "ymin", "xmax", "ymax")]
        last = (width - 1, height - 1)
        left, top, right, bottom = (min(max(c, 0), last[place % 2]) for place, c in enumerate(corners))
        difficult = (entry.findtext("difficult") or "0").strip() not in ("0", "")
        found.append(Annotated(name, (left, top, right, bottom), difficult))
    return found


def kept(objects: Iterable[Annotated], *, difficult: bool = True, flat: bool = True) -> list[Annotated]:
    """Return those of `objects` that count: without difficult ones or those of a flat box where these are False."""
    return [o for o in objects if (difficult or not o.difficult) and (flat or not o.flat)]


def labels_of(objects: Iterable[Annotated], classes: ClassNames) -> tuple[int, ...]:
    """Return the labels of the classes that `objects` are of, ascending.

    Raises:
        DataError: a class that is not known.
    """
    return tuple(sorted({classes.label(entry.name) for entry in objects}))


def boxes_of(objects: Iterable[Annotated]) -> IntArray:
    """Return the boxes as (N, 4) int64: left, top, right, bottom."""
    return np.array([entry.box for entry in objects], np.int64).reshape(-1, 4)


def _whole(element: ElementTree.Element, name: str, said_by: str) -> int:
    text = element.findtext(name)
    try:
        value = float(text or "")
        if math.isfinite(value) and abs(value) < 1e9:
            return int(value)
    except ValueError:
        pass
    raise DataError(f"{said_by}: <{name}> is {text!r:.60}; expected a number")
