"""Lists of image ids as the field writes them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from wsseg_cli.data.label_table import without_suffix
from wsseg_cli.disk.reading import read_text
from wsseg_cli.errors import DataError

from .places import relative

_LARGEST = 64 << 20
_PHOTO_FOLDER = "JPEGImages"


def read_list(
    path: Path, known: Callable[[str], bool] | None = None, refuse: Callable[[str, str], None] | None = None
) -> list[str]:
    """Return the image ids of a list file in its order.

    known: whether an id has a photo, which tells names with spaces from names followed by something else. refuse:
    called with (entry, reason) for every line that names no path below a folder; by default that is an error.

    Raises:
        DataError: the file is missing, not text or empty, an id occurs twice, or one leads out of a folder.
    """
    try:
        text = read_text(path, _LARGEST, "utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: cannot be read as a list ({error})") from error
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise DataError(f"{path}: lists no images")
    ids = []
    for line in lines:
        image_id = id_of_line(line, known)
        try:
            ids.append(relative(image_id, str(path)).as_posix())
        except DataError as error:
            if refuse is None:
                raise
            refuse(f"{path.name}: {line.strip()[:80]}", str(error))
    twice = [image_id for image_id, count in Counter(ids).items() if count > 1]
    if twice:
        raise DataError(f"{path}: {len(twice)} ids occur twice, first {twice[0]!r}")
    return ids


def id_of_line(line: str, known: Callable[[str], bool] | None = None) -> str:
    """Return the image id that a line of a list names.

    A line may hold an id, alone or followed by a number as in VOC's lists of a class, or a photo's path, alone or
    followed by its mask's path as in PSA's lists ("/JPEGImages/2007_000032.jpg /SegmentationClassAug/2007_000032.png").
    The first reading for which a photo is known counts.
    """
    whole, first = line.strip().replace("\\", "/"), line.split()[0].replace("\\", "/")
    candidates = [name for text in (whole, first) for name in _ids_of(text)]
    if known is not None:
        for candidate in candidates:
            if known(candidate):
                return candidate
    return _ids_of(first)[0]


def _ids_of(text: str) -> list[str]:
    """Return the ids that a path may mean: below the folder of photos with its own folders, then by its name alone."""
    path = PurePosixPath(text)
    parts = path.parts[path.parts.index(_PHOTO_FOLDER) + 1 :] if _PHOTO_FOLDER in path.parts[:-1] else path.parts
    nested = without_suffix(PurePosixPath(*parts).as_posix()) if parts else text
    return list(dict.fromkeys([nested, without_suffix(path.name)])) if path.name else [text]
