"""Label Studio's tasks: written as predictions with a brush and a score, read as the drawn annotations."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit
from xml.etree import ElementTree

from pydantic import with_config
from typing_extensions import NotRequired, TypedDict

from ..disk.records import OPEN, read_record
from ..disk.writing import write_text
from ..errors import DataError
from ..types import ByteArray, Json
from .brush_codes import pack, unpack
from .coco_masks import object_mask
from .cvat import hex_colour
from .regions import BoolArray, Drawing, Drawings, Picture, Region, regions_of

LARGEST = 1 << 30
"""Largest file that is read, in bytes."""

_REMEDY = "expected Label Studio's tasks, exported as JSON"
_FROM, _TO = "label", "image"
_SHAPES = {"brushlabels": "rle", "polygonlabels": "points"}
_UPLOADED = re.compile(r"[0-9a-f]{8}-")
_FILE = re.compile(r".\.\w{2,5}$")


@with_config(OPEN)
class _Result(TypedDict):
    type: str
    value: NotRequired[dict[str, Any]]
    original_width: NotRequired[int]
    original_height: NotRequired[int]
    image_rotation: NotRequired[float]


@with_config(OPEN)
class _Annotation(TypedDict):
    result: list[_Result]
    was_cancelled: NotRequired[bool]


@with_config(OPEN)
class _Task(TypedDict):
    data: dict[str, Any]
    annotations: NotRequired[list[_Annotation]]


def write(
    path: Path,
    labels: Mapping[int, str],
    pictures: Iterable[Picture],
    colours: ByteArray,
    instances: bool = False,
    *,
    prefix: str = "",
    version: str = "wsseg",
) -> int:
    """Write tasks with predictions and, next to them, NAME.config.xml, the labelling interface; return their number.

    labels: by mask value. colours: (256, 3) uint8 RGB of each value. instances: one region per connected component,
    else one per class and image. prefix: what precedes a photo's name. version: model version shown by the tool. A
    picture's score becomes that of its prediction.

    Raises:
        DataError: the files cannot be written.
    """
    tasks: list[Json] = []
    for picture in pictures:
        regions = regions_of(picture.mask, labels, instances)
        result = [_result(picture, number, region) for number, region in enumerate(regions, 1)]
        scored = {} if picture.score is None else {"score": picture.score}
        height, width = picture.size
        data = {"image": prefix + quote(picture.file_name), "image_id": picture.image_id}
        tasks.append(
            {
                "data": data | {"width": width, "height": height},
                "predictions": [{"model_version": version, **scored, "result": result}],
            }
        )
    write_text(path.with_suffix(".config.xml"), _interface(labels, colours))
    write_text(path, json.dumps(tasks, ensure_ascii=False) + "\n")
    return len(tasks)


def _result(picture: Picture, number: int, region: Region) -> Json:
    height, width = picture.size
    named = hashlib.sha256(f"{picture.image_id}/{number}".encode("utf-8", "replace")).hexdigest()[:10]
    brush = pack(region.lengths(picture.size, "rows"), height * width)
    return {
        "id": named,
        "type": "brushlabels",
        "from_name": _FROM,
        "to_name": _TO,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush, "brushlabels": [region.label]},
    }


def _interface(labels: Mapping[int, str], colours: ByteArray) -> str:
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", {"name": _TO, "value": "$image", "zoom": "true", "zoomControl": "true"})
    brush = ElementTree.SubElement(view, "BrushLabels", {"name": _FROM, "toName": _TO})
    for value, label in labels.items():
        ElementTree.SubElement(brush, "Label", {"value": label, "background": hex_colour(colours[value])})
    ElementTree.indent(view)
    return ElementTree.tostring(view, encoding="unicode") + "\n"


def refuse(labels: Sequence[str]) -> None:
    """Refuse label names that the labelling interface cannot hold.

    Raises:
        DataError: there are such names; lists them.
    """
    for name in labels:
        if any(letter < " " or letter == "\x7f" for letter in name) or name != name.strip():
            raise DataError(f"class {name!r:.80}: Label Studio's labels are printable, without blanks at the ends")


def read(path: Path) -> Drawings:
    """Return what was drawn in each task: of several annotations, the last that was not cancelled.

    Tasks without one are left out and counted in the notes, even if they have predictions.

    Raises:
        DataError: the file is missing, has another form or no annotation, or has regions other than brush and polygon.
    """
    tasks = read_record(path, list[_Task], _REMEDY, largest=LARGEST)
    if tasks is None:
        raise DataError(f"{path}: no such file")
    pictures = []
    for number, task in enumerate(tasks):
        drawn = [one for one in task.get("annotations", ()) if not one.get("was_cancelled")]
        if drawn:
            pictures.append(_drawing(f"{path}: task {number}", task, drawn[-1]["result"]))
    left = len(tasks) - len(pictures)
    if not pictures:
        raise DataError(f"{path}: none of {len(tasks)} tasks has an annotation; predictions are not read")
    return Drawings(None, pictures, [f"{left} tasks without an annotation are left out"] if left else [])


def _drawing(said_by: str, task: _Task, results: Sequence[_Result]) -> Drawing:
    name, data = _photo(said_by, task["data"]), task["data"]
    said_by = f"{said_by} ({name})"
    regions: list[tuple[str, Any]] = []
    size = tuple(data.get(side) for side in ("height", "width"))
    for result in results:
        if "original_width" not in result:
            continue  # a choice or a text, not a region
        kind, value = result["type"], result.get("value", {})
        marked = value.get(kind)
        if kind not in _SHAPES or _SHAPES[kind] not in value:
            raise DataError(f"{said_by}: a region of type {kind!r:.40}; read are {', '.join(_SHAPES)}")
        if not isinstance(marked, list) or len(marked) != 1 or not isinstance(marked[0], str):
            raise DataError(f"{said_by}: a region with the labels {marked!r:.60}; expected one")
        if result.get("image_rotation"):
            raise DataError(f"{said_by}: was turned in Label Studio; turn it back")
        found = (result.get("original_height"), result["original_width"])
        if regions and found != size:
            raise DataError(f"{said_by}: regions on images of several sizes")
        size = found
        regions.append((marked[0], (kind, value[_SHAPES[kind]])))
    height, width = (side if isinstance(side, int) and side > 0 else 0 for side in size)
    own = data.get("image_id")
    return Drawing(name, (height, width), regions, own if isinstance(own, str) and own else None)


def _photo(said_by: str, data: Mapping[str, Any]) -> str:
    """Return the file name of a task's photo, without the folders in its address."""
    values = [data["image"]] if isinstance(data.get("image"), str) else [v for v in data.values() if isinstance(v, str)]
    for value in values:
        try:
            parts = urlsplit(value)
            local = parse_qs(parts.query).get("d")
        except ValueError:
            continue
        name = (local[0] if local else unquote(parts.path)).rpartition("/")[2]
        if _FILE.search(name):
            return _UPLOADED.sub("", name, count=1) if "/upload/" in parts.path else name
    raise DataError(f"{said_by}: `data` names no photo, such as a.jpg")


def inside(region: tuple[str, Any], size: tuple[int, int]) -> BoolArray:
    """Return the (H, W) bool pixels of a brush or of a polygon, whose corners are in per cent of the sides.

    Raises:
        DataError: the run lengths or corners are invalid.
    """
    kind, value = region
    if kind == "brushlabels":
        return unpack(value, size)
    try:
        corners = [float(part) * side / 100 for x, y in value for part, side in ((x, size[1]), (y, size[0]))]
    except (TypeError, ValueError):
        raise DataError("a polygon of something else than pairs of numbers") from None
    return object_mask([corners], size).astype(bool)
