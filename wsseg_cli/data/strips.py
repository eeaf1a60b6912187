"""Pixels of large photos, a few rows at a time if the file allows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..disk.reading import open_regular
from ..errors import DataError
from ..types import ByteArray
from .images import exif_orientation, open_picture, read_image

_BITS, _COMPRESSION, _PHOTOMETRIC = 258, 259, 262  # numbers of TIFF tags
_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _PLANAR = 273, 277, 278, 284
_PLAIN, _RGB, _CHUNKY = 1, 2, 1


class Pixels:
    """The (H, W, 3) uint8 RGB pixels of a photo, with its EXIF orientation applied.

    An uncompressed 8-bit RGB TIFF without rotation is read from its file as rows are needed; any other photo is
    decoded whole.
    """

    size: tuple[int, int]

    def __init__(self, path: Path, orientation: int | None = None) -> None:
        """Raise a DataError if the photo cannot be used. orientation: by default that of the EXIF data."""
        self.path = path
        with open_picture(path) as picture:
            turn = exif_orientation(picture) if orientation is None else orientation
            self._strips = _strips(picture) if turn == 1 else None
            self.size = (picture.height, picture.width)
        self._whole: ByteArray | None = None
        self._band: tuple[tuple[int, int], ByteArray] | None = None
        if self._strips is None:
            self._whole = read_image(path, turn)
            self.size = (self._whole.shape[0], self._whole.shape[1])

    @classmethod
    def of(cls, image: ByteArray) -> Pixels:
        """Wrap pixels (H, W, 3) uint8 that are already in memory."""
        made = cls.__new__(cls)
        made.path, made.size = Path(), (int(image.shape[0]), int(image.shape[1]))
        made._whole, made._strips, made._band = image, None, None
        return made

    def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> ByteArray:
        """Return the pixels of a window, (h, w, 3) uint8; the rows of the last window are cached for its neighbours.

        Raises:
            DataError: the file is shorter than its header says.
        """
        if self._whole is not None:
            return self._whole[rows[0] : rows[1], columns[0] : columns[1]]
        if self._band is None or self._band[0] != rows:
            self._band = None
            self._band = rows, self._rows(rows)
        return np.ascontiguousarray(self._band[1][:, columns[0] : columns[1]])

    def whole(self) -> ByteArray:
        """Return all pixels, (H, W, 3) uint8.

        Raises:
            DataError: as `read`.
        """
        return self.read((0, self.size[0]), (0, self.size[1]))

    def _rows(self, rows: tuple[int, int]) -> ByteArray:
        offsets, each = self._strips or ([], 1)
        width = self.size[1]
        found = np.empty((rows[1] - rows[0], width, 3), np.uint8)
        with open_regular(self.path) as file:
            for strip in range(rows[0] // each, -(-rows[1] // each)):
                first, last = max(rows[0], strip * each), min(rows[1], (strip + 1) * each)
                file.seek(offsets[strip] + (first - strip * each) * width * 3)
                data = file.read((last - first) * width * 3)
                if len(data) < (last - first) * width * 3:
                    raise DataError(f"{self.path}: broken or truncated (strip {strip})")
                found[first - rows[0] : last - rows[0]] = np.frombuffer(data, np.uint8).reshape(-1, width, 3)
        return found


def _strips(picture: Image.Image) -> tuple[list[int], int] | None:
    """Return where the strips of a plain TIFF begin and the rows per strip; None for any other picture."""
    if picture.format != "TIFF" or picture.mode != "RGB":
        return None
    tags: Any = picture.tag_v2  # type: ignore[attr-defined]
    plain = tags.get(_COMPRESSION, _PLAIN) == _PLAIN and tags.get(_PHOTOMETRIC) == _RGB
    chunky = tags.get(_PLANAR, _CHUNKY) == _CHUNKY and tags.get(_SAMPLES) == 3 and tags.get(_BITS) == (8, 8, 8)
    offsets = tags.get(_OFFSETS)
    each = tags.get(_ROWS_PER_STRIP, picture.height)
    if not plain or not chunky or not isinstance(offsets, tuple) or not isinstance(each, int) or each < 1:
        return None
    each = min(each, picture.height)
    return (list(offsets), each) if len(offsets) == -(-picture.height // each) else None
