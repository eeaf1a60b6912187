"""Reads annotations in COCO's instances format and checks everything that is used of them."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsseg_cli.disk.reading import read_bytes
from wsseg_cli.disk.records import parse_json
from wsseg_cli.errors import DataError
from wsseg_cli.types import IGNORE

from .places import relative

_LARGEST = 4 << 30  # bytes


@dataclass(frozen=True)
class Painted:
    """One object: its mask value, the file's segmentation, its box, whether it is a crowd, its name.

    The segmentation is None if the file has none: such an object still gives its image a label.
    """

    value: int
    segmentation: Any
    box: Any
    crowd: bool
    name: str


@dataclass(frozen=True)
class Picture:
    """One image: its id (the file name without suffix), size (H, W), and objects in the order of the file."""

    image_id: str
    file_name: str
    size: tuple[int, int]
    objects: list[Painted]


@dataclass(frozen=True)
class Instances:
    """The contents of a file: class names by ascending category id, the images in the order of the file, its hash."""

    names: list[str]
    pictures: list[Picture]
    digest: str


def read_instances(path: Path, rename: Mapping[str, str | None], refuse: Callable[[str, str], None]) -> Instances:
    """Return the classes, images and objects of an instances JSON.

    Whole numbers may be strings or floats, ids of images any string. rename: the names to use, by category names as in
    the file; None leaves out the category and its objects. refuse: called with (entry, reason) for images and
    annotations that lack something.

    Raises:
        DataError: the file is missing or not JSON, or categories lack something.
    """
    try:
        data = read_bytes(path, _LARGEST)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        content = parse_json(data)
    except ValueError as error:
        raise DataError(f"{path}: not valid JSON ({error})") from error
    digest = hashlib.sha256(data).hexdigest()
    del data
    lists: list[list[Any]] = []
    for name in ("categories", "images", "annotations"):
        part = content.get(name) if isinstance(content, dict) else None
        if not isinstance(part, list):
            raise DataError(f"{path}: no list `{name}`; expected COCO's instances format")
        lists.append(part)
    categories = _categories(path, lists[0])
    twice = sorted({name for name, count in Counter(name for _, name in categories).items() if count > 1})
    if twice:
        raise DataError(f"{path}: several categories are called {', '.join(twice)}; give each a name of its own")
    used = {number: rename.get(name, name) for number, name in categories}
    names = list(dict.fromkeys(name for name in used.values() if name is not None))
    if not 0 < len(names) < IGNORE:
        raise DataError(f"{path}: {len(names)} categories; expected 1 to {IGNORE - 1}")
    values = {number: 0 if name is None else names.index(name) + 1 for number, name in used.items()}

    def bad(entry: str, reason: str) -> None:
        refuse(f"{path.name}, {entry}", f"{path}: {entry}: {reason}")

    pictures = _pictures(lists[1], bad)
    _objects(lists[2], values, pictures, bad)
    return Instances(names, list(pictures.values()), digest)


def _categories(path: Path, entries: list[Any]) -> list[tuple[int, str]]:
    found: dict[int, str] = {}
    for entry in entries:
        number, name = whole(_of(entry, "id")), _of(entry, "name")
        if number is None or not isinstance(name, str) or number in found:
            raise DataError(f"{path}: category {_short(entry)}: needs an `id` of its own and a `name`")
        found[number] = name
    return sorted(found.items())


def _pictures(entries: list[Any], bad: Callable[[str, str], None]) -> dict[int | str, Picture]:
    found: dict[int | str, Picture] = {}
    for entry in entries:
        said, number, name = f"image {_short(entry)}", _key(_of(entry, "id")), _of(entry, "file_name")
        height, width = whole(_of(entry, "height")) or 0, whole(_of(entry, "width")) or 0
        if number is None or not isinstance(name, str) or min(height, width) < 1:
            bad(said, "needs `id`, `file_name`, `height` and `width`")
        elif number in found:
            bad(said, f"image id {number} occurs twice")
        else:
            try:
                stem = relative(name, f"image {number}").with_suffix("").as_posix()
            except (DataError, ValueError) as error:
                bad(said, str(error))
            else:
                found[number] = Picture(stem, name, (height, width), [])
    stems = Counter(picture.image_id for picture in found.values())
    # a.jpg and a.png are two images
    return {n: p if stems[p.image_id] == 1 else replace(p, image_id=p.file_name) for n, p in found.items()}


def _objects(
    entries: list[Any],
    values: dict[int, int],
    pictures: dict[int | str, Picture],
    bad: Callable[[str, str], None],
) -> None:
    for entry in entries:
        category, picture = whole(_of(entry, "category_id")), _key(_of(entry, "image_id"))
        said = f"annotation {_short(entry)}"
        if category not in values or picture not in pictures:
            bad(said, "needs a known `image_id` and `category_id`")
        elif values[category]:
            shape = entry.get("segmentation") or None
            crowd = bool(whole(entry.get("iscrowd", 0)))
            pictures[picture].objects.append(Painted(values[category], shape, entry.get("bbox"), crowd, said))


def whole(value: Any) -> int | None:
    """Return a whole number given as int, float or text, as programs other than COCO's write them; else None."""
    if isinstance(value, str) and re.fullmatch(r"-?\d{1,18}(\.0*)?", value.strip()):
        value = float(value) if "." in value else int(value)
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return int(value)
    return value if isinstance(value, int) and abs(value) < 1 << 63 else None


def _key(value: Any) -> int | str | None:
    number = whole(value)
    return number if number is not None else value if isinstance(value, str) and value else None


def _of(entry: Any, name: str) -> Any:
    return entry.get(name) if isinstance(entry, dict) else None


def _short(entry: Any) -> str:
    return str(entry.get("id", "without id"))[:40] if isinstance(entry, dict) else type(entry).__name__
