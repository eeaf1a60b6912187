"""Objects of VOC's annotation files, and image labels made from them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from wsseg_cli.disk.reading import read_bytes
from wsseg_cli.errors import DataError
from wsseg_cli.types import ClassNames

from .names import renamed

_LARGEST = 4 << 20
_DECLARED = re.compile(rb"\s*(?:\xef\xbb\xbf)?<\?xml[^>]{0,200}?encoding\s*=\s*[\"']([A-Za-z0-9._-]{1,40})[\"']")
_DECLARATION = re.compile(r"\s*<\?xml[^>]{0,300}\?>")
_NO_ENCODINGS = ("idna", "punycode", "utf-7", "utf_7", "unicode_escape", "raw_unicode_escape")
_UNREADABLE = "\ufffd"


@dataclass(frozen=True)
class Annotated:
    """One object of an annotation: its class, its box (left, top, right, bottom) in whole pixels, whether difficult.

    The box is None if the file gives none, as for polygons and rotated boxes: image labels do not need it.
    """

    name: str
    box: tuple[int, int, int, int] | None
    difficult: bool

    @property
    def flat(self) -> bool:
        """True if there is a box and it has no width or no height."""
        return self.box is not None and (self.box[2] <= self.box[0] or self.box[3] <= self.box[1])


def read_objects(path: Path) -> list[Annotated]:
    """Return the objects of an annotation file, as `parse_objects` does.

    Raises:
        DataError: the file is missing, too large or not XML, or an object has no name.
    """
    try:
        data = read_bytes(path, _LARGEST)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    return parse_objects(data, str(path))


def parse_objects(data: bytes, said_by: str) -> list[Annotated]:
    """Return the objects of an annotation in the order of the file.

    Coordinates are truncated to integers and, if the file gives the photo's size, clipped to [0, size - 1]. said_by:
    names the annotation in messages.

    Raises:
        DataError: it is not XML or has entities, or an object has no name.
    """
    text = _text(data)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{said_by}: declares a document type, which VOC's annotations do not need")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{said_by}: not valid XML ({error})") from error
    if root.tag.lower() != "annotation":
        raise DataError(f"{said_by}: is <{root.tag[:40]}>; expected an <annotation>")
    size = (_whole(root.findtext("size/width")) or 0, _whole(root.findtext("size/height")) or 0)
    found = []
    for entry in root.findall("object"):
        name = (entry.findtext("name") or "").strip()
        if not name:
            raise DataError(f"{said_by}: an object without a name")
        if _UNREADABLE in name:
            raise DataError(
                f"{said_by}: the class {name!r:.60} is in another encoding than the file says; save as UTF-8"
            )
        difficult = (entry.findtext("difficult") or "").strip().lower() in ("1", "true")
        found.append(Annotated(name, _box(entry, size), difficult))
    return found


def _text(data: bytes) -> str:
    """Return the text of an XML file without its declaration; what cannot be decoded becomes U+FFFD.

    expat knows few of the encodings that annotation tools write: gb2312, big5 or "utf8" are left to Python.
    """
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        text = data.decode("utf-16", errors="replace")
    else:
        declared = _DECLARED.match(data)
        named = declared[1].decode("ascii").lower() if declared else "utf-8"
        text = _decoded(data, "gb18030" if named in ("gb2312", "gbk") else named)
    return _DECLARATION.sub("", text.lstrip("\ufeff"), count=1)


def _decoded(data: bytes, encoding: str) -> str:
    for name in ("utf-8-sig",) if encoding in _NO_ENCODINGS else (encoding, "utf-8-sig"):
        try:
            return data.decode(name)
        except (LookupError, UnicodeError):
            continue
    return data.decode("utf-8", errors="replace")


def _box(entry: ElementTree.Element, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    corners = [_whole(entry.findtext(f"bndbox/{side}")) for side in ("xmin", "ymin", "xmax", "ymax")]
    if None in corners:
        return None
    clipped = []
    for place, corner in enumerate(corners):
        side = size[place % 2]
        clipped.append(min(max(corner or 0, 0), side - 1) if side > 0 else max(corner or 0, 0))
    return clipped[0], clipped[1], clipped[2], clipped[3]


def kept(objects: Iterable[Annotated], *, difficult: bool = True, flat: bool = True) -> list[Annotated]:
    """Return those of `objects` that count: without difficult ones, or those with a flat box, if the flag is False."""
    return [o for o in objects if (difficult or not o.difficult) and (flat or not o.flat)]


def labels_of(
    objects: Iterable[Annotated], classes: ClassNames, rename: Mapping[str, str | None] | None = None
) -> tuple[int, ...]:
    """Return the labels of the classes of `objects`, ascending; `rename` as in the option of that name.

    Raises:
        DataError: a class is not known.
    """
    return classes.labels(renamed((entry.name for entry in objects), rename or {}))


def _whole(text: str | None) -> int | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return int(value) if math.isfinite(value) and abs(value) < 1e9 else None
