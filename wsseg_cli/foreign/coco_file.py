"""COCO's instances JSON, written and read: one category per class, ids from 1 by mask value, regions as run lengths."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import with_config
from typing_extensions import NotRequired, TypedDict

from ..disk.records import OPEN, read_record
from ..disk.writing import write_text
from ..errors import DataError
from ..ops.run_lengths import text_of
from ..types import Json
from .coco_masks import object_mask
from .regions import BoolArray, Drawing, Drawings, Picture, Region, regions_of

LARGEST = 1 << 30
"""Largest file that is read, in bytes."""

_REMEDY = "expected COCO's instances format with images, annotations and categories"


@with_config(OPEN)
class _Category(TypedDict):
    id: int
    name: str


@with_config(OPEN)
class _Image(TypedDict):
    id: int | str
    file_name: str
    height: int
    width: int


@with_config(OPEN)
class _Annotation(TypedDict):
    image_id: int | str
    category_id: int
    segmentation: NotRequired[Any]


@with_config(OPEN)
class _Instances(TypedDict):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def write(path: Path, labels: Mapping[int, str], pictures: Iterable[Picture], instances: bool = False) -> int:
    """Write an instances JSON, whole or not at all; return the number of images.

    labels: by mask value, in the order of the category ids; pixels of other values are in no annotation. instances: one
    annotation per connected component, else one per class and image. No annotation is a crowd.

    Raises:
        DataError: the file cannot be written.
    """
    ids = {label: number for number, label in enumerate(labels.values(), 1)}
    images: list[Json] = []
    annotations: list[Json] = []
    for number, picture in enumerate(pictures, 1):
        height, width = picture.size
        images.append({"id": number, "file_name": picture.file_name, "height": height, "width": width})
        for region in regions_of(picture.mask, labels, instances):
            place = {"id": len(annotations) + 1, "image_id": number, "category_id": ids[region.label]}
            annotations.append(place | _shape(region, picture.size))
    categories = [{"id": number, "name": label, "supercategory": ""} for label, number in ids.items()]
    content = {"images": images, "annotations": annotations, "categories": categories}
    write_text(path, json.dumps(content, ensure_ascii=False) + "\n")
    return len(images)


def _shape(region: Region, size: tuple[int, int]) -> Json:
    return {
        "segmentation": {"size": list(size), "counts": text_of(region.lengths(size, "columns"))},
        "area": int(region.inside.sum()),
        "bbox": [region.left, region.top, region.inside.shape[1], region.inside.shape[0]],
        "iscrowd": 0,
    }


def read(path: Path) -> Drawings:
    """Return the drawings in an instances JSON, crowds like other objects.

    Raises:
        DataError: the file is missing or has another form, or objects are of unknown images or categories.
    """
    content = read_record(path, _Instances, _REMEDY, largest=LARGEST)
    if content is None:
        raise DataError(f"{path}: no such file")
    names = {category["id"]: category["name"] for category in sorted(content["categories"], key=lambda c: c["id"])}
    if len(set(names.values())) < len(content["categories"]):
        raise DataError(f"{path}: `categories`: two have the same id or the same name")
    regions: dict[int | str, list[tuple[str, Any]]] = {image["id"]: [] for image in content["images"]}
    if len(regions) < len(content["images"]):
        raise DataError(f"{path}: `images`: two have the same id")
    for number, entry in enumerate(content["annotations"]):
        if entry["image_id"] not in regions or entry["category_id"] not in names:
            said = f"image {entry['image_id']!r:.40} and category {entry['category_id']!r:.40}"
            raise DataError(f"{path}: `annotations.{number}` is of {said}; one of them is not in the file")
        regions[entry["image_id"]].append((names[entry["category_id"]], entry.get("segmentation")))
    pictures = [
        Drawing(image["file_name"], (image["height"], image["width"]), regions[image["id"]])
        for image in content["images"]
    ]
    return Drawings(list(names.values()), pictures, [])


def inside(region: Any, size: tuple[int, int]) -> BoolArray:
    """Return the (H, W) bool pixels of polygons or run lengths, drawn as by COCO's own tools.

    Raises:
        DataError: the region is neither, or its run lengths have another size.
    """
    return object_mask(region, size).astype(bool)
