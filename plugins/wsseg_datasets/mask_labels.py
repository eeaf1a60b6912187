"""Image labels from masks, for data sets with `labels: masks`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from wsseg_cli.data.images import mask_values
from wsseg_cli.data.threads import in_threads
from wsseg_cli.errors import DataError
from wsseg_cli.types import ClassNames


def labels_shown(masks: Mapping[str, Path], classes: ClassNames) -> dict[str, tuple[int, ...]]:
    """Return the labels that each mask shows, by image id.

    A mask that cannot be read gives none: the check of the masks reports why.
    """

    def shown(path: Path) -> tuple[int, ...]:
        try:
            return classes.labels_in(np.array(mask_values(path)[1]))
        except DataError:
            return ()

    return dict(zip(masks, in_threads(shown, masks.values()), strict=True))
