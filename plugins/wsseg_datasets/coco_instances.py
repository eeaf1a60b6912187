"""Reads annotations in COCO's instances format and checks all that is used of them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsseg_cli.disk.reading import read_bytes
from wsseg_cli.errors import DataError
from wsseg_cli.types import IGNORE

from .places import relative

_LARGEST = 4 << 30  # bytes
_NAMED = 10  # bad entries that a message names


@dataclass(frozen=True)
class Picture:
    """One image: its id (the file name without suffix), size (H, W), and objects in the order of the file.

    An object is (mask value, segmentation, is a crowd).
    """

    image_id: str
    file_name: str
    size: tuple[int, int]
    objects: list[tuple[int, Any, bool]]


@dataclass(frozen=True)
class Instances:
    """What a file holds: (category id, name) by ascending id, the images in the order of the file, its hash."""

    categories: list[tuple[int, str]]
    pictures: list[Picture]
    digest: str


def read_instances(path: Path) -> Instances:
    """Return the categories, images and objects of an instances JSON.

    Raises:
        DataError: missing, no JSON, or entries that lack something; the first of the bad ones are named.
    """
    try:
        data = read_bytes(path, _LARGEST)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{path}: no JSON ({error})") from error
    digest = hashlib.sha256(data).hexdigest()
    del data
    lists: list[list[Any]] = []
    for name in ("categories", "images", "annotations"):
        part = content.get(name) if isinstance(content, dict) else None
        if not isinstance(part, list):
            raise DataError(f"{path}: no list `{name}`; expected COCO's instances format")
        lists.append(part)
    problems: list[str] = []
    categories = _categories(lists[0], problems)
    pictures = _pictures(path, lists[1], problems)
    _objects(lists[2], {number: value for value, (number, _) in enumerate(categories, 1)}, pictures, problems)
    if problems:
        more = f"\n  … and {len(problems) - _NAMED} more" if len(problems) > _NAMED else ""
        raise DataError(f"{path}: {len(problems)} bad entries:" + "".join(f"\n  {p}" for p in problems[:_NAMED]) + more)
    return Instances(categories, list(pictures.values()), digest)


def _categories(entries: list[Any], problems: list[str]) -> list[tuple[int, str]]:
    found: dict[int, str] = {}
    for entry in entries:
        number, name = _of(entry, "id", int), _of(entry, "name", str)
        if number is None or name is None or number in found:
            problems.append(f"category {_short(entry)}: needs an `id` of its own and a `name`")
        else:
            found[number] = name
    if not found or len(found) >= IGNORE:
        problems.append(f"{len(found)} categories; expected 1 to {IGNORE - 1}")
    return sorted(found.items())


def _pictures(path: Path, entries: list[Any], problems: list[str]) -> dict[int, Picture]:
    found: dict[int, Picture] = {}
    for entry in entries:
        number, name = _of(entry, "id", int), _of(entry, "file_name", str)
        height, width = _of(entry, "height", int), _of(entry, "width", int)
        if number is None or name is None or height is None or width is None or min(height, width) < 1:
            problems.append(f"image {_short(entry)}: needs `id`, `file_name`, `height` and `width`")
        elif number in found:
            problems.append(f"image id {number} stands twice")
        else:
            try:
                stem = relative(name, f"image {number}").with_suffix("").as_posix()
            except (DataError, ValueError) as error:
                problems.append(str(error))
            else:
                found[number] = Picture(stem, name, (height, width), [])
    return found


def _objects(entries: list[Any], values: dict[int, int], pictures: dict[int, Picture], problems: list[str]) -> None:
    for entry in entries:
        category, picture = _of(entry, "category_id", int), _of(entry, "image_id", int)
        if category not in values or picture not in pictures or "segmentation" not in entry:
            problems.append(f"annotation {_short(entry)}: needs a `segmentation`, a known `image_id` and `category_id`")
        else:
            crowd = bool(entry.get("iscrowd", 0))
            pictures[picture].objects.append((values[category], entry["segmentation"], crowd))


def _of(entry: Any, name: str, kind: type) -> Any:
    value = entry.get(name) if isinstance(entry, dict) else None
    return value if type(value) is kind else None


def _short(entry: Any) -> str:
    return str(entry.get("id", "without id"))[:40] if isinstance(entry, dict) else type(entry).__name__
