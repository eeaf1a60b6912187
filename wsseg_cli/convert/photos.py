"""The photos of masks, found by the names that masks and labelling tools use."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from ..data.files import file_stem
from ..data.images import exif_orientation, open_picture
from ..data.label_table import PHOTO_SUFFIXES, without_suffix
from ..data.stores import check_size
from ..errors import DataError

_SIDEWAYS = (5, 6, 7, 8)


class Photos:
    """The photos below a folder, which is listed once; their ids are their relative paths without suffix."""

    def __init__(self, folder: Path) -> None:
        """Raise a DataError if the folder does not exist or holds no photo."""
        if not folder.is_dir():
            raise DataError(f"--photos {folder}: no such folder")
        found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file())
        if not found:
            raise DataError(f"--photos {folder}: holds no photos ({', '.join(PHOTO_SUFFIXES)})")
        self.folder = folder
        names = [path.relative_to(folder).as_posix() for path in found]
        self._names = dict(zip(image_ids(names), names, strict=True))
        self._by_stem = {file_stem(image_id): image_id for image_id in self._names}
        inner = [image_id.rpartition("/")[2] for image_id in self._names]
        single = {name for name, count in Counter(inner).items() if count == 1}
        self._by_inner = {name: i for name, i in zip(inner, self._names, strict=True) if name in single}

    def find(self, name: str) -> str | None:
        """Return the id of the photo that a mask or a tool calls `name`, without suffix; None if there is none.

        `name` is the id, the id as a file name, or the last part of the id if that is unique.
        """
        return name if name in self._names else self._by_stem.get(name, self._by_inner.get(name))

    def file_name(self, image_id: str) -> str:
        """Return the path of a photo relative to the folder."""
        return self._names[image_id]

    def check(self, image_id: str, size: tuple[int, int]) -> None:
        """Refuse a (H, W) mask whose photo has another size, both as stored and with EXIF orientation applied.

        Raises:
            DataError: the sizes differ, or the photo cannot be read.
        """
        path = self.folder / self._names[image_id]
        with open_picture(path) as picture:
            stored = (picture.height, picture.width)
            turned = stored[::-1] if exif_orientation(picture) in _SIDEWAYS else stored
        if size != turned:
            check_size(path, "mask", size, stored)

    def size(self, image_id: str) -> tuple[int, int]:
        """Return the (H, W) of a photo with its EXIF orientation applied.

        Raises:
            DataError: the photo cannot be read.
        """
        with open_picture(self.folder / self._names[image_id]) as picture:
            turned = exif_orientation(picture) in _SIDEWAYS
            return (picture.width, picture.height) if turned else (picture.height, picture.width)


def image_ids(file_names: Sequence[str]) -> list[str]:
    """Return the ids of photos: their names, without suffix unless that is the same for two of them.

    Raises:
        DataError: a name occurs twice.
    """
    twice = [name for name, count in Counter(file_names).items() if count > 1]
    if twice:
        raise DataError(f"{len(twice)} photos occur twice, such as {twice[0]!r:.80}")
    counts = Counter(without_suffix(name) for name in file_names)
    return [without_suffix(name) if counts[without_suffix(name)] == 1 else name for name in file_names]
