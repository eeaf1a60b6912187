"""CVAT's files, written and read: "CVAT for images 1.1" (XML), "Segmentation mask 1.1" (archive of coloured masks)."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from PIL import Image

from ..disk.archives import is_archive, opened, unpack
from ..disk.reading import MEGABYTE, read_bytes
from ..disk.writing import write_atomically, write_text
from ..errors import DataError
from ..types import ByteArray
from .coco_masks import object_mask
from .regions import BoolArray, Drawing, Drawings, Picture, from_lengths, regions_of

LARGEST = 1 << 30
"""Largest XML that is read, in bytes."""

_LARGEST_MASK = 256 * MEGABYTE

LABELMAP = "labelmap.txt"
MASKS = "SegmentationClass/"

_ANNOTATIONS = "annotations.xml"
_SHAPES = ("mask", "polygon", "box")
_LONGEST_NAME = 64
_EPOCH = (1980, 1, 1, 0, 0, 0)  # time of archive members: the same bytes whenever it is made


def write_xml(
    path: Path, labels: Mapping[int, str], pictures: Iterable[Picture], colours: ByteArray, instances: bool = False
) -> int:
    """Write the XML and, next to it, NAME.labels.json for CVAT's label constructor; return the number of images.

    labels: by mask value. colours: (256, 3) uint8 RGB of each value. instances: one mask per connected component, else
    one per class and image.

    Raises:
        DataError: the files cannot be written.
    """
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    said = ElementTree.SubElement(task, "labels")
    described = [{"name": name, "color": hex_colour(colours[value]), "type": "mask"} for value, name in labels.items()]
    for one in described:
        label = ElementTree.SubElement(said, "label")
        for key, text in one.items():
            ElementTree.SubElement(label, key).text = text
        ElementTree.SubElement(label, "attributes")
    count = 0
    for count, picture in enumerate(pictures, 1):
        height, width = picture.size
        place = {"id": str(count - 1), "name": picture.file_name, "width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", place)
        for region in regions_of(picture.mask, labels, instances):
            box = {"left": region.left, "top": region.top, "width": region.inside.shape[1]}
            box |= {"height": region.inside.shape[0], "z_order": 0}
            runs = ", ".join(map(str, region.lengths_in_box()))
            fixed = {"label": region.label, "source": "auto", "occluded": "0", "rle": runs}
            ElementTree.SubElement(image, "mask", fixed | {key: str(number) for key, number in box.items()})
    ElementTree.indent(root)
    text = ElementTree.tostring(root, encoding="unicode")
    constructor = json.dumps([one | {"attributes": []} for one in described], ensure_ascii=False, indent=1)
    write_text(path.with_suffix(".labels.json"), constructor + "\n")
    write_text(path, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')
    return count


def write_archive(path: Path, labels: Mapping[int, str], pictures: Iterable[Picture], colours: ByteArray) -> int:
    """Write the archive: labelmap.txt, coloured masks, and the list of images; return the number of images.

    labels, colours: as in `write_xml`.

    Raises:
        DataError: the file cannot be written.
    """
    used = {0: "background", **labels}
    rows = [f"{name}:{','.join(map(str, colours[value].tolist()))}::" for value, name in used.items()]
    kept = np.isin(np.arange(len(colours)), list(labels))
    names: list[str] = []

    def fill(temporary: Path) -> None:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
            _add(archive, LABELMAP, "\n".join(["# label:color_rgb:parts:actions", *rows, ""]).encode())
            for picture in pictures:
                name = picture.file_name.rpartition(".")[0] or picture.file_name
                coloured = colours[np.where(kept[picture.mask], picture.mask, 0)]
                held = io.BytesIO()
                Image.fromarray(coloured).save(held, format="PNG", compress_level=1)
                _add(archive, f"{MASKS}{name}.png", held.getvalue())
                names.append(name)
            _add(archive, "ImageSets/Segmentation/default.txt", "\n".join([*names, ""]).encode())

    write_atomically(path, fill)
    return len(names)


def _add(archive: zipfile.ZipFile, name: str, data: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, _EPOCH), data)


def hex_colour(colour: ByteArray) -> str:
    """Return three RGB bytes as #rrggbb."""
    return f"#{colour.tobytes().hex()}"


def refuse(labels: Sequence[str], archive: bool = False) -> None:
    """Refuse label names that CVAT, or the label map of its archive, cannot hold.

    Raises:
        DataError: there are such names; lists them.
    """
    for name in labels:
        if len(name) > _LONGEST_NAME or any(letter < " " or letter == "\x7f" for letter in name):
            raise DataError(f"class {name!r:.80}: CVAT's names have at most {_LONGEST_NAME} letters, all printable")
        if archive and (":" in name or name.startswith("#") or name != name.strip()):
            raise DataError(
                f"class {name!r}: {LABELMAP} cannot hold a colon, a leading # or blanks at the ends; --out FILE.xml "
                "writes the format that can"
            )


def read(path: Path) -> Drawings:
    """Return the drawings in an XML, or in an archive with one: masks, polygons and boxes, by z order.

    Raises:
        DataError: the file is missing, not an XML of images, or has entities, video tracks or other shapes.
    """
    try:
        data = _xml_of(path)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read as CVAT's XML ({error})") from None
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{path}: has a document type of its own, which CVAT's files do not need")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: no XML ({error})") from None
    if root.tag != "annotations" or root.find("track") is not None:
        raise DataError(f'{path}: not in the format "CVAT for images 1.1"; export the task in that')
    named = [(label.findtext("name") or "").strip() for label in root.iterfind("meta/*/labels/label")]
    return Drawings(named or None, [_drawing(path, image) for image in root.iterfind("image")], [])


def _xml_of(path: Path) -> bytes:
    if not is_archive(path):
        return read_bytes(path, LARGEST)
    with opened(path) as archive:
        if _ANNOTATIONS not in archive.namelist():
            raise zipfile.BadZipFile(f"it holds neither {_ANNOTATIONS} nor {LABELMAP}")
        return unpack(archive, archive.getinfo(_ANNOTATIONS), LARGEST)


def _drawing(path: Path, image: ElementTree.Element) -> Drawing:
    name = image.get("name", "")
    size = (_whole(image.get("height")), _whole(image.get("width")))
    if not name or size[0] is None or size[1] is None:
        raise DataError(f"{path}: image {name!r:.80}: needs `name`, `width` and `height` of its own")
    shapes = [shape for shape in image if shape.tag != "tag"]
    other = [shape.tag for shape in shapes if shape.tag not in _SHAPES]
    if other:
        raise DataError(f"{path}: image {name!r:.80}: a {other[0]!r:.40}; read are {', '.join(_SHAPES)}")
    shapes.sort(key=lambda shape: _whole(shape.get("z_order")) or 0)
    regions = [(shape.get("label", ""), dict(shape.attrib, tag=shape.tag)) for shape in shapes]
    return Drawing(name, (size[0], size[1]), regions)


def inside(region: dict[str, str], size: tuple[int, int]) -> BoolArray:
    """Return the (H, W) bool pixels of a mask, a polygon or a box.

    Raises:
        DataError: run lengths do not fit their box, a box is outside the image, or a number is invalid.
    """
    if region["tag"] == "mask":
        return _mask(region, size)
    try:
        if region["tag"] == "box":
            left, top, right, bottom = (float(region[key]) for key in ("xtl", "ytl", "xbr", "ybr"))
            corners = [left, top, right, top, right, bottom, left, bottom]
        else:
            corners = [float(number) for point in region["points"].split(";") for number in point.split(",")]
    except (KeyError, ValueError) as error:
        raise DataError(f"a {region['tag']} of something else than numbers ({error})") from None
    if _whole(region.get("rotation", "0").partition(".")[0]):
        raise DataError("a turned box; draw a polygon")
    return object_mask([corners], size).astype(bool)


def _mask(region: dict[str, str], size: tuple[int, int]) -> BoolArray:
    left, top, width, height = (_whole(region.get(key)) for key in ("left", "top", "width", "height"))
    if left is None or top is None or width is None or height is None:
        raise DataError("a mask whose box is not given in whole numbers")
    if left + width > size[1] or top + height > size[0] or min(height, width) < 1:
        raise DataError(f"a box of {width}x{height} at {left}, {top} in an image of {size[1]}x{size[0]}")
    lengths = [_whole(part) for part in region.get("rle", "").split(",")]
    if None in lengths:
        raise DataError("run lengths of something else than whole numbers")
    found = np.zeros(size, bool)
    found[top : top + height, left : left + width] = from_lengths(
        [n for n in lengths if n is not None], (height, width)
    )
    return found


def _whole(text: str | None) -> int | None:
    """Return a non-negative integer; None for anything else."""
    text = (text or "").strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else None


def labelmap(path: Path) -> tuple[list[str], ByteArray] | None:
    """Return the names and colours (N, 3) uint8 in an archive's label map, in its order; None for other files.

    Raises:
        DataError: the archive or its label map is broken.
    """
    try:
        if not is_archive(path):
            return None
        with opened(path) as archive:
            if LABELMAP not in archive.namelist():
                return None
            text = unpack(archive, archive.getinfo(LABELMAP), MEGABYTE).decode("utf-8-sig")
        rows = [line.split(":") for line in text.splitlines() if line.strip() and not line.startswith("#")]
        colours = np.array([[int(part) for part in row[1].split(",")] for row in rows])
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path}: cannot be read ({error})") from None
    except (ValueError, IndexError) as error:
        raise DataError(f"{path}: {LABELMAP} cannot be read ({error}); expected lines NAME:R,G,B::") from None
    if colours.ndim != 2 or colours.shape[1] != 3 or colours.min() < 0 or colours.max() > 255 or len(colours) > 256:
        raise DataError(f"{path}: {LABELMAP}: expected up to 256 lines NAME:R,G,B::")
    return [row[0] for row in rows], colours.astype(np.uint8)


def coloured_masks(path: Path) -> Iterable[tuple[str, bytes | Exception]]:
    """Yield (image id, PNG) of the masks in an archive, with an exception for each that cannot be unpacked."""
    with opened(path) as archive:
        for entry in archive.infolist():
            name = entry.filename
            if name.startswith(MASKS) and name.lower().endswith(".png"):
                image_id = name[len(MASKS) : -4]
                try:
                    yield image_id, unpack(archive, entry, _LARGEST_MASK)
                except zipfile.BadZipFile as error:
                    yield image_id, error
