"""How a data set's labels compare with those that other repositories distribute as `cls_labels.npy`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wsseg_cli.errors import DataError
from wsseg_cli.foreign.label_vectors import read_label_vectors


def agreement(path: Path, labels: Mapping[str, tuple[int, ...]], classes: int) -> str:
    """Return in words for how many image ids the labels equal those in the file.

    labels: class numbers from 0 by image id. classes: number of classes.

    Raises:
        DataError: the file is broken, or has another number of classes.
    """
    vectors = read_label_vectors(path)
    length = len(next(iter(vectors.values())))
    if length != classes:
        raise DataError(f"{path}: vectors of {length} classes, but the data set has {classes}")
    both = labels.keys() & vectors.keys()
    equal = sum(set(np.flatnonzero(vectors[image_id]).tolist()) == set(labels[image_id]) for image_id in both)
    absent = f"; {len(labels) - len(both)} more ids are not in it" if len(both) < len(labels) else ""
    return f"on {equal} of {len(both)} ids{absent}"
