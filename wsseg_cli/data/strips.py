"""Pixels of large photos, a few rows at a time if the file allows it."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from ..disk.reading import open_regular
from ..errors import DataError
from ..types import ByteArray
from .images import decode, exif_orientation, open_picture, read_image

# numbers of TIFF tags
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC, _FILL_ORDER = 256, 257, 258, 259, 262, 266
_OFFSETS, _SAMPLES, _ROWS_PER_STRIP, _COUNTS, _PLANAR = 273, 277, 278, 279, 284
_PREDICTOR, _TILE_WIDTH, _TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS = 317, 322, 323, 324, 325
_JPEG_TABLES, _SUBSAMPLING, _REFERENCE = 347, 530, 532
_PLAIN, _RGB, _CHUNKY, _HIGH_BIT_FIRST = 1, 2, 1, 1
_BY_BLOCK = (_PLAIN, 5, 7, 8, 32773, 32946, 34925, 50000)
"""Compressions whose blocks stand alone: LZW, JPEG, deflate (8 and 32946), PackBits, LZMA, Zstandard."""
_HOW = (_BITS, _COMPRESSION, _PHOTOMETRIC, _SAMPLES, _PLANAR, _PREDICTOR, _JPEG_TABLES, _SUBSAMPLING, _REFERENCE)
"""Tags that say how pixels are packed: the same for every block."""
_TALLEST = 1024  # rows of a block; a file of taller ones is decoded whole


class Pixels:
    """The (H, W, 3) uint8 RGB pixels of a photo, with its EXIF orientation applied.

    An 8-bit RGB TIFF of strips or tiles without rotation, compressed or not, is read from its file as rows are
    needed; any other photo is decoded whole.
    """

    size: tuple[int, int]

    def __init__(self, path: Path, orientation: int | None = None) -> None:
        """Raise a DataError if the photo cannot be used. orientation: by default that of the EXIF data."""
        self.path = path
        with open_picture(path) as picture:
            turn = exif_orientation(picture) if orientation is None else orientation
            self._blocks = _blocks(picture) if turn == 1 else None
            self.size = (picture.height, picture.width)
        self._whole: ByteArray | None = None
        self._band: tuple[tuple[int, int], ByteArray] | None = None
        if self._blocks is None:
            self._whole = read_image(path, turn)
            self.size = (self._whole.shape[0], self._whole.shape[1])

    @classmethod
    def of(cls, image: ByteArray) -> Pixels:
        """Wrap pixels (H, W, 3) uint8 that are already in memory."""
        made = cls.__new__(cls)
        made.path, made.size = Path(), (int(image.shape[0]), int(image.shape[1]))
        made._whole, made._blocks, made._band = image, None, None
        return made

    def read(self, rows: tuple[int, int], columns: tuple[int, int]) -> ByteArray:
        """Return the pixels of a window, (h, w, 3) uint8; the rows of the last window are cached for its neighbours.

        Raises:
            DataError: the file is shorter than its header says, or a part of it is broken.
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
        assert self._blocks is not None
        height, width = self._blocks.size
        found = np.empty((rows[1] - rows[0], self.size[1], 3), np.uint8)
        with open_regular(self.path) as file:
            for row in range(rows[0] // height, -(-rows[1] // height)):
                first, last = max(rows[0], row * height), min(rows[1], (row + 1) * height)
                inside = (first - row * height, last - row * height)
                for column in range(-(-self.size[1] // width)):
                    target = found[first - rows[0] : last - rows[0], column * width : (column + 1) * width]
                    target[:] = self._blocks.read(file, self.path, row, column, inside)[:, : target.shape[1]]
        return found


@dataclass(frozen=True)
class _Blocks:
    """The strips or tiles of a TIFF, in rows; a strip is as wide as the picture."""

    picture: tuple[int, int]
    size: tuple[int, int]
    offsets: tuple[int, ...]
    lengths: tuple[int, ...] | None  # None: not compressed, so that a part of a strip can be read
    tiled: bool
    how: dict[int, Any]

    def read(self, file: BinaryIO, path: Path, row: int, column: int, rows: tuple[int, int]) -> ByteArray:
        """Return some rows of one block, (h, width of a block, 3)."""
        number = row * -(-self.picture[1] // self.size[1]) + column
        start, length = 0, self.size[1] * 3 * (rows[1] - rows[0])
        if self.lengths is None:
            start = self.size[1] * 3 * rows[0]
        else:
            length = self.lengths[number]
        file.seek(self.offsets[number] + start)
        data = file.read(length)
        if len(data) < length:
            raise DataError(f"{path}: broken or truncated (strip or tile {number})")
        if self.lengths is None:
            return np.frombuffer(data, np.uint8).reshape(-1, self.size[1], 3)
        height = self.size[0] if self.tiled else min(self.size[0], self.picture[0] - row * self.size[0])
        try:
            alone = Image.open(BytesIO(self._header(height, length) + data), formats=["TIFF"])
        except Exception:  # Pillow fails in all kinds of ways on damaged files
            raise DataError(f"{path}: broken or truncated (strip or tile {number})") from None
        with decode(alone, path) as block:
            return np.asarray(block.convert("RGB"))[rows[0] : rows[1]]

    def _header(self, height: int, length: int) -> bytes:
        """Return what makes a TIFF of the bytes of one block, so that Pillow decodes it like any other."""
        tags = ImageFileDirectory_v2()
        for tag, value in self.how.items():
            tags[tag] = value
        tags[_WIDTH], tags[_LENGTH], tags[_ROWS_PER_STRIP] = self.size[1], height, height
        tags[_OFFSETS], tags[_COUNTS] = 0, length  # the writer counts from the end of the tags
        return b"II*\0" + (8).to_bytes(4, "little") + tags.tobytes(8)


def _blocks(picture: Image.Image) -> _Blocks | None:
    """Return the strips or tiles of an 8-bit RGB TIFF; None for any other picture, and where they are tall."""
    if picture.format != "TIFF" or picture.mode != "RGB":
        return None
    tags: Any = picture.tag_v2  # type: ignore[attr-defined]
    how = {tag: tags[tag] for tag in _HOW if tag in tags}
    if how.get(_PLANAR, _CHUNKY) != _CHUNKY or how.get(_SAMPLES) != 3 or how.get(_BITS) != (8, 8, 8):
        return None
    if how.get(_COMPRESSION, _PLAIN) not in _BY_BLOCK or tags.get(_FILL_ORDER, _HIGH_BIT_FIRST) != _HIGH_BIT_FIRST:
        return None
    tiled = _TILE_WIDTH in tags
    plain = how.get(_COMPRESSION, _PLAIN) == _PLAIN and how.get(_PHOTOMETRIC) == _RGB and not tiled
    names = (_TILE_LENGTH, _TILE_OFFSETS, _TILE_COUNTS) if tiled else (_ROWS_PER_STRIP, _OFFSETS, _COUNTS)
    rows, offsets, lengths = (tags.get(name) for name in names)
    width = tags[_TILE_WIDTH] if tiled else picture.width
    rows = picture.height if rows is None else rows
    if not all(isinstance(edge, int) and edge > 0 for edge in (rows, width)) or width > picture.width:
        return None
    size = (rows if tiled else min(rows, picture.height), width)
    blocks = -(-picture.height // size[0]) * -(-picture.width // size[1])
    if not isinstance(offsets, tuple) or len(offsets) != blocks:
        return None
    if plain:
        return _Blocks(picture.size[::-1], size, offsets, None, tiled, how)
    if size[0] > _TALLEST or not isinstance(lengths, tuple) or len(lengths) != blocks:
        return None
    return _Blocks(picture.size[::-1], size, offsets, lengths, tiled, how)
