"""EXIF turns of photos that may have masks."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from wsseg_cli.data.images import exif_orientation, open_picture
from wsseg_cli.errors import DataError


def orientations(files: Iterable[tuple[Path, Path | None]]) -> list[int]:
    """Return the EXIF orientation to apply to each photo, 1 to all if a mask has the size of a photo as it is stored.

    files: (photo, its mask or another map that lies on it, or None). What cannot be opened gets 1: whoever reads the
    pixels says why.
    """
    found = []
    as_stored = False
    for photo, mask in files:
        orientation, size = _header(photo)
        found.append(orientation)
        if orientation != 1 and mask is not None:
            as_stored = as_stored or _header(mask)[1] == size
    return [1] * len(found) if as_stored else found


def _header(path: Path) -> tuple[int, tuple[int, int] | None]:
    try:
        with open_picture(path) as picture:
            return exif_orientation(picture), picture.size
    except DataError:
        return 1, None
