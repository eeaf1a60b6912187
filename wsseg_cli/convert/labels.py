"""`wsseg convert labels`: `cls_labels.npy` in both key styles to and from tables of class names, or from a run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..data.class_files import read_class_names
from ..data.files import file_stem, stems_in, write_atomically
from ..data.images import read_mask
from ..data.index import read_index
from ..data.label_table import read_label_table, without_suffix, write_label_table
from ..errors import DataError, RecipeError
from ..foreign.label_vectors import read_label_vectors
from ..foreign.npy_out import npy_bytes
from ..types import ClassNames, FloatArray

Keys = Literal["id", "number"]

_VOC_ID = re.compile(r"(\d{4})_(\d{6})")


@dataclass(frozen=True)
class Labels:
    """Labels of many images: one multi-hot vector (C,) float32 per image id."""

    vectors: dict[str, FloatArray]
    classes: ClassNames | None


@dataclass(frozen=True)
class Agreement:
    """How labels agree with the classes in masks, over the images that have both.

    Attributes:
        compared: images with labels and a mask.
        equal: those whose classes are the same.
        only_labels: by class, images where only the labels have it.
        only_masks: by class, images where only the mask has it.
    """

    compared: int
    equal: int
    only_labels: tuple[int, ...]
    only_masks: tuple[int, ...]


@dataclass(frozen=True)
class ConvertedLabels:
    """The outcome: images, images without a label, images by class, and the comparison with masks if requested."""

    out: Path
    images: int
    without: int
    counts: tuple[int, ...]
    classes: ClassNames | None
    agreement: Agreement | None = None


def run(
    source: Path, out: Path, *, classes: Path | None = None, keys: Keys = "id", masks: Path | None = None
) -> ConvertedLabels:
    """Convert labels; the formats are inferred from the suffixes: `.npy`, `.csv`, `.jsonl`; a folder is a run.

    classes: file with the class names in the order of the vector; needed between `.npy` and a table, except that a
    table without it gives its names in alphabetical order. keys: how `.npy` names images, by id or, as in IRN, by the
    number of a VOC id. masks: folder of masks to compare the labels with.

    Raises:
        DataError: a file is broken. RecipeError: names are needed, or the suffix is another one.
    """
    names = None if classes is None else read_class_names(classes)
    labels = read_labels(source, names)
    if out.suffix.lower() == ".npy":
        write_labels_npy(out, labels, keys)
    elif out.suffix.lower() in (".csv", ".jsonl"):
        write_label_table(out, _names(labels, source))
    else:
        raise RecipeError(f"{out}: labels are written as .npy, .csv or .jsonl")
    matrix = np.array(list(labels.vectors.values())).reshape(len(labels.vectors), -1)
    return ConvertedLabels(
        out=out,
        images=len(matrix),
        without=int((matrix.sum(axis=1) == 0).sum()),
        counts=tuple(int(count) for count in matrix.sum(axis=0)),
        classes=labels.classes,
        agreement=None if masks is None else compare(labels.vectors, masks),
    )


def read_labels(source: Path, classes: ClassNames | None = None) -> Labels:
    """Return the labels in a `.npy` of a dict, in a table, or in the index of a prepared run.

    Raises:
        DataError: the file is broken, or names and vectors do not match. StageError: the folder has no index.
    """
    if source.is_dir():
        index = read_index(source / "prepare" if (source / "prepare").is_dir() else source)
        samples = [entry.sample for entry in index.entries.values()]
        shown = {sample.image_id: [index.classes[label] for label in sample.labels] for sample in samples}
        classes = classes or index.classes
        return Labels({i: _vector(source, i, names, classes) for i, names in shown.items()}, classes)
    if source.suffix.lower() in (".csv", ".jsonl"):
        table = {without_suffix(name): names for name, names in read_label_table(source, classes=classes or ()).items()}
        classes = classes or ClassNames(sorted({name for names in table.values() for name in names}))
        return Labels({i: _vector(source, i, names, classes) for i, names in table.items()}, classes)
    vectors = read_label_vectors(source)
    length = len(next(iter(vectors.values()), ()))
    if classes is not None and len(classes) != length:
        raise DataError(f"{source}: vectors of {length} classes, but {len(classes)} names")
    return Labels(vectors, classes)


def write_labels_npy(out: Path, labels: Labels, keys: Keys = "id") -> None:
    """Write `cls_labels.npy` as the repositories read it: a dict of float32 vectors by id, or by number as in IRN.

    Raises:
        DataError: `keys` is "number" and an id is not one of VOC's.
    """
    named: dict[Any, Any] = {
        image_id if keys == "id" else _number_of(image_id): v for image_id, v in labels.vectors.items()
    }
    data = npy_bytes(named)
    write_atomically(out, lambda path: path.write_bytes(data))


def compare(vectors: Mapping[str, FloatArray], masks: Path) -> Agreement:
    """Return how labels agree with the classes in the masks of a folder.

    Raises:
        DataError: a mask cannot be read.
    """
    there = stems_in(masks, ".png")
    both = [image_id for image_id in vectors if file_stem(image_id) in there]
    length = len(next(iter(vectors.values()), ()))
    said, shown = np.zeros((len(both), length), bool), np.zeros((len(both), length), bool)
    for row, image_id in enumerate(both):
        said[row] = vectors[image_id] > 0
        values = np.unique(read_mask(masks / f"{file_stem(image_id)}.png"))
        shown[row, [int(value) - 1 for value in values if 0 < value <= length]] = True
    return Agreement(
        compared=len(both),
        equal=int((said == shown).all(axis=1).sum()),
        only_labels=tuple(int(count) for count in (said & ~shown).sum(axis=0)),
        only_masks=tuple(int(count) for count in (shown & ~said).sum(axis=0)),
    )


def _names(labels: Labels, source: Path) -> dict[str, list[str]]:
    if labels.classes is None:
        raise RecipeError(f"{source} holds no class names; --classes FILE gives them, one per line, in the same order")
    return {i: [labels.classes[int(k)] for k in np.flatnonzero(vector)] for i, vector in labels.vectors.items()}


def _vector(source: Path, image_id: str, names: list[str], classes: ClassNames) -> FloatArray:
    vector = np.zeros(len(classes), np.float32)
    for name in names:
        try:
            vector[classes.label(name)] = 1
        except DataError as error:
            raise DataError(f"{source}: image {image_id!r:.80}: {error}") from error
    return vector


def _number_of(image_id: str) -> int:
    match = _VOC_ID.fullmatch(image_id)
    if match is None:
        raise DataError(f"image {image_id!r:.80} has no number; only ids like 2007_000032 have one")
    return int(match[1] + match[2])
