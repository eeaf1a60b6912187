"""Image labels as distributed by other repositories: `cls_labels.npy`, a dict of multi-hot vectors."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DataError
from ..types import FloatArray
from .npy import read

_VOC_NUMBER = re.compile(r"((?:19|20)\d\d)(\d{6})")


def read_label_vectors(path: Path) -> dict[str, FloatArray]:
    """Return the label vectors (C,) float32, multi-hot, by image id, from a file like `cls_labels.npy`.

    Keys may be ids or IRN's numbers: 2007000032 is 2007_000032.

    Raises:
        DataError: the file is broken or has no such dict, or vectors differ in length or hold more than 0 and 1.
    """
    value = read(path)
    if not isinstance(value, dict) or not value:
        raise DataError(f"{path}: holds no dict of image ids; expected a file like cls_labels.npy")
    vectors: dict[str, FloatArray] = {}
    length = None
    for key, vector in value.items():
        image_id = _id_of(key)
        if isinstance(vector, list) and all(isinstance(number, int | float) for number in vector):
            vector = np.array(vector)
        if not isinstance(vector, np.ndarray) or vector.ndim != 1 or vector.dtype.kind not in "biuf":
            raise DataError(f"{path}: image {key!r:.80} has no label vector")
        length = len(vector) if length is None else length
        if len(vector) != length or not np.isin(vector, (0, 1)).all():
            raise DataError(f"{path}: image {key!r:.80}: expected {length} values, each 0 or 1")
        if image_id in vectors:
            raise DataError(f"{path}: image {image_id!r:.80} occurs twice")
        vectors[image_id] = vector.astype(np.float32)
    return vectors


def _id_of(key: Any) -> str:
    if isinstance(key, bytes):
        key = key.decode(errors="replace")
    if isinstance(key, str):
        return key
    match = _VOC_NUMBER.fullmatch(str(key))
    return f"{match[1]}_{match[2]}" if match else str(key)
