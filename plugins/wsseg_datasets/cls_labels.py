"""How a data set's labels compare with those that other repositories hand on as `cls_labels.npy`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wsseg_cli.errors import DataError
from wsseg_cli.foreign.label_vectors import read_label_vectors


def agreement(path: Path, labels: Mapping[str, tuple[int, ...]], classes: int) -> str:
    """Return in words on how many image ids the labels are those of the file.

    labels: class numbers from 0 by image id. classes: how many there are.

    Raises:
        DataError: a broken file, or one of another number of classes.
    """
    vectors = read_label_vectors(path)
    length = len(next(iter(vectors.values())))
    if length != classes:
        raise DataError(f"{path}: vectors of {length} classes, but the data set has {classes}")
    both = labels.keys() & vectors.keys()
    equal = sum(set(np.flatnonzero(vectors[image_id]).tolist()) == set(labels[image_id]) for image_id in both)
    absent = f"; {len(labels) - len(both)} more ids are not in it" if len(both) < len(labels) else ""
    return f"on {equal} of {len(both)} ids{absent}"
