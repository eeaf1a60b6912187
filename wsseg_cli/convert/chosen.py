"""Which masks leave for a labelling tool, and with which score."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path

from ..disk.reading import read_text
from ..disk.records import read_record
from ..errors import DataError

_LARGEST = 64 << 20


def listed(path: Path, known: Collection[str]) -> set[str]:
    """Return the image ids that a file lists, one a line, as `wsseg rank --list` prints them.

    Raises:
        DataError: it cannot be read, is empty, or lists an image that is none of the `known`.
    """
    try:
        text = read_text(path, _LARGEST, "utf-8-sig")
        ids = {line.strip() for line in text.splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--images {path}: cannot be read ({error})") from None
    if not ids:
        raise DataError(f"--images {path}: lists no image; expected an image id a line")
    if other := sorted(ids - set(known)):
        raise DataError(
            f"--images {path}: {len(other)} of {len(ids)} have no mask here, such as {other[0]!r}; "
            "`wsseg rank RUN --list` prints ids as they are meant"
        )
    return ids


def scores_in(path: Path, ids: Collection[str], notes: list[str]) -> Mapping[str, float]:
    """Return the score of each image id that a JSON file {"ID": 0.7, …} gives; notes: gets what it lacks.

    Raises:
        DataError: missing, another form, or scores of other images.
    """
    scores = read_record(path, dict[str, float], 'expected a score by image id, {"IMG_0001": 0.7, …}')
    if scores is None:
        raise DataError(f"{path}: no such file")
    known = {image_id: score for image_id, score in scores.items() if image_id in ids and math.isfinite(score)}
    if not known:
        raise DataError(f"{path}: none of its {len(scores)} images is one of the {len(ids)} that are written")
    if len(known) < len(ids):
        notes.append(f"{len(ids) - len(known)} of {len(ids)} photos have no score in {path}")
    return known
