"""Lists of image ids as the field writes them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path, PurePosixPath

from wsseg_cli.disk.reading import read_text
from wsseg_cli.errors import DataError

from .places import relative

_LARGEST = 64 << 20
_PHOTOS = (".jpg", ".jpeg", ".png")


def read_list(path: Path) -> list[str]:
    """Return the image ids of a list file in its order.

    Raises:
        DataError: missing, no text, empty, an id that stands twice, or one that leads out of a folder.
    """
    try:
        text = read_text(path, _LARGEST, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list ({error})") from error
    ids = [id_of_line(line) for line in text.splitlines() if line.strip()]
    if not ids:
        raise DataError(f"{path}: names no image")
    for image_id in ids:
        relative(image_id, str(path))
    twice = [image_id for image_id, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(f"{path}: {len(twice)} ids stand twice, first {twice[0]!r}")
    return ids


def id_of_line(line: str) -> str:
    """Return the image id that a line of a list names.

    Read are an id alone, and a photo's path, with or without its mask's path behind it, as PSA's lists have them
    ("/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png").
    """
    first = line.split()[0]
    path = PurePosixPath(first)
    return path.stem if path.suffix.lower() in _PHOTOS else first
