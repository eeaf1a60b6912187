"""`wsseg convert masks --from TOOL`: masks drawn in COCO's format, CVAT or Label Studio, to palette PNGs."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from ..data.class_files import read_class_names
from ..data.images import check_pixels
from ..data.stores import MaskStore
from ..errors import DataError, RecipeError
from ..foreign import coco_file, cvat, label_studio
from ..foreign.regions import Drawing, Drawings, Inside, painted
from ..types import IGNORE, ByteArray, ClassNames, means_no_class
from .masks import ConvertedMasks, values_of
from .photos import Photos, image_ids

Tool = Literal["coco", "cvat", "label-studio"]


@dataclass(frozen=True)
class Meaning:
    """The meaning of labels: the classes in the order of mask values, and the label whose pixels become 255, if any."""

    classes: ClassNames
    ignore: str | None

    def values(self, labels: Mapping[str, str], said_by: str) -> dict[str, int]:
        """Return the mask value of each label; labels: with the photo in which each was first met.

        Raises:
            DataError: some labels are not classes; names them.
        """
        known = {name: value for value, name in enumerate(self.classes, 1)}
        known |= {} if self.ignore is None else {self.ignore: IGNORE}
        # a label "background" is allowed, but not "_ignore_", which is also not a class but means something else
        known |= {label: 0 for label in labels if label not in known and means_no_class(label.strip("_- "))}
        other = [label for label in labels if label not in known]
        if other:
            raise DataError(
                f"{said_by}: {len(other)} labels are none of the classes {_listed(self.classes)}: {_listed(other)}, "
                f"first in {labels[other[0]]!r:.80}. Is this another project's file? `--classes FILE` names the "
                "classes, `--ignore LABEL` turns a label into 255"
            )
        return known


def run(
    source: Path,
    out: Path,
    tool: Tool,
    *,
    classes: Path | None = None,
    ignore: str | None = None,
    photos: Path | None = None,
) -> ConvertedMasks:
    """Convert a labelling tool's file to a folder of palette PNGs, named by the photos' ids.

    Unlabelled pixels are background; where regions overlap, the later or higher one counts. tool: "cvat" reads "CVAT
    for images 1.1" and "Segmentation mask 1.1". classes: file with the class names in the order of the mask values; by
    default the order in the file, which a file of Label Studio does not have. ignore: label whose pixels become 255.
    photos: folder in which each mask must have a photo of its size.

    Raises:
        DataError: the file as a whole cannot be used; then nothing is written. Photos with wrong regions, size or file
            are in `failures`; all others are written. RecipeError: the classes are needed.
    """
    if tool not in get_args(Tool):
        raise RecipeError(f"unknown tool {tool!r}; expected one of {', '.join(get_args(Tool))}")
    if not source.is_file():
        reason = "a folder" if source.is_dir() else "no such file"
        raise DataError(f"{source}: {reason}; `--from` reads the file that the tool exported")
    names = None if classes is None else read_class_names(classes)
    folder = None if photos is None else Photos(photos)
    coloured = cvat.labelmap(source) if tool == "cvat" else None
    if coloured is not None:
        result, masks = _of_archive(source, out, names, ignore, *coloured)
    else:
        result, masks = _of_regions(source, out, tool, names, ignore, folder)
    for image_id, mask in masks:
        try:
            found = _found(image_id, folder)
            drawn = mask()
            if folder is not None:
                folder.check(found, (int(drawn.shape[0]), int(drawn.shape[1])))
            MaskStore(out).write(found, drawn)
        except DataError as error:
            result.failures.append((Path(image_id), str(error)))
            continue
        result.written += 1
        result.counts.update(np.unique(drawn).tolist())
    return result


def _found(image_id: str, photos: Photos | None) -> str:
    found = image_id if photos is None else photos.find(image_id)
    if found is None:
        raise DataError(f"{image_id}: no photo of this name in {photos.folder if photos else ''}")
    return found


_Masks = Iterator[tuple[str, "partial[ByteArray]"]]
"""(image id, function that returns its mask or raises DataError)."""


def _of_regions(
    source: Path, out: Path, tool: Tool, names: ClassNames | None, ignore: str | None, photos: Photos | None
) -> tuple[ConvertedMasks, _Masks]:
    module = {"coco": coco_file, "cvat": cvat, "label-studio": label_studio}[tool]
    drawings: Drawings = module.read(source)
    meaning = _meaning(source, names, ignore, drawings.labels)
    first: dict[str, str] = {}
    for drawing in drawings.pictures:
        for label, _ in drawing.regions:
            first.setdefault(label, drawing.file_name)
    values = meaning.values(first, str(source))
    empty = sum(not drawing.regions for drawing in drawings.pictures)
    notes = [*drawings.notes, *([f"{empty} photos without a region are all background"] if empty else [])]
    given = [drawing.image_id or drawing.file_name for drawing in drawings.pictures]
    ids = [d.image_id or i for d, i in zip(drawings.pictures, image_ids(given), strict=True)]
    result = ConvertedMasks(out, classes=tuple(meaning.classes), notes=notes)
    inside: Inside = module.inside
    return result, (
        (i, partial(_mask, d, i, values, inside, photos)) for i, d in zip(ids, drawings.pictures, strict=True)
    )


def _mask(
    drawing: Drawing, image_id: str, values: Mapping[str, int], inside: Inside, photos: Photos | None
) -> ByteArray:
    size = drawing.size
    if min(size) < 1 and photos is not None and not drawing.regions:
        size = photos.size(photos.find(image_id) or image_id)
    if min(size) < 1:
        raise DataError(f"{drawing.file_name}: nothing says how large the photo is; `--photos DIR` does")
    check_pixels(Path(drawing.file_name), size[0] * size[1])
    return painted(replace(drawing, size=size), values, inside)


def _of_archive(
    source: Path, out: Path, names: ClassNames | None, ignore: str | None, labels: Sequence[str], colours: ByteArray
) -> tuple[ConvertedMasks, _Masks]:
    meaning = _meaning(source, names, ignore, labels)
    known = meaning.values({label: cvat.LABELMAP for label in labels}, str(source))
    # values_of_colours knows VOC's colour of 255, which the label map may omit
    values = np.full(IGNORE + 1, IGNORE, np.uint8)
    values[: len(labels)] = [known[label] for label in labels]
    masks = ((i, partial(_coloured, i, data, colours, values)) for i, data in cvat.coloured_masks(source))
    return ConvertedMasks(out, classes=tuple(meaning.classes)), masks


def _coloured(image_id: str, data: bytes | Exception, colours: ByteArray, values: ByteArray) -> ByteArray:
    if isinstance(data, Exception):
        raise DataError(f"{image_id}: cannot be unpacked ({data})")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mask.png"
        path.write_bytes(data)
        try:
            return values[values_of(path, "rgb", colours)]
        except DataError as error:
            raise DataError(str(error).replace(str(path), image_id).replace("--colours", cvat.LABELMAP)) from None


def _meaning(source: Path, names: ClassNames | None, ignore: str | None, labels: Sequence[str] | None) -> Meaning:
    if names is None and labels is None:
        raise RecipeError(f"{source} does not say in which order the labels are mask values; --classes FILE does")
    kept = [label for label in labels or () if label != ignore and not means_no_class(label.strip("_- "))]
    meaning = Meaning(ClassNames(kept) if names is None else names, ignore)
    if ignore in meaning.classes:
        raise RecipeError(f"--ignore {ignore}: is one of the classes")
    if ignore is not None and labels and ignore not in labels:
        raise RecipeError(f"--ignore {ignore}: no label of {source}, which has {_listed(labels)}")
    return meaning


def _listed(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:8])) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
