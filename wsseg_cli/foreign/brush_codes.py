"""Label Studio's brush: (H, W) pixels as RGBA bytes, of which only alpha counts, bit-packed with run lengths.

The format is that of the JavaScript package @thi.ng/rle-pack. A header of 53 bits holds the number of bytes (32), the
bits per value minus 1 (5) and four length widths minus 1 (4 each). Each run then has one bit that says whether a single
value is repeated, two bits that choose the width, the length minus 1, and one value, or as many as the run is long.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..errors import DataError
from ..types import ByteArray
from .regions import BoolArray

_WIDTHS = (3, 4, 8, 16)
_CHANNELS = 4
_HEAD = 32 + 5 + 4 * len(_WIDTHS)
_OPAQUE = 128


def pack(lengths: Sequence[int], total: int) -> list[int]:
    """Return the bytes of an image of `total` pixels, 255 inside and 0 outside.

    lengths: run lengths along the rows, outside first, adding up to `total`.
    """
    values = np.arange(len(lengths)) % 2 * 255
    runs = np.asarray(lengths, np.int64) * _CHANNELS
    longest = 1 << _WIDTHS[-1]
    parts = -(-runs // longest)
    values = np.repeat(values, parts)
    whole = np.full(len(values), longest)
    there = parts > 0
    whole[np.cumsum(parts)[there] - 1] = (runs - (parts - 1) * longest)[there]
    choice = np.searchsorted([1 << width for width in _WIDTHS], whole)
    widths = np.asarray(_WIDTHS)[choice]
    codes = (((4 + choice) << widths | (whole - 1)) << 8) | values
    head = f"{total * _CHANNELS:032b}{7:05b}" + "".join(f"{width - 1:04b}" for width in _WIDTHS)
    bits = np.concatenate([np.array([int(bit) for bit in head], np.uint8), _bits(codes, widths + 11)])
    packed: list[int] = np.packbits(bits).tolist()
    return packed


def _bits(codes: np.ndarray, counts: np.ndarray) -> ByteArray:
    """Return the lowest `counts[i]` bits, at most 32, of each code, concatenated."""
    left = (codes << (32 - counts)).astype(">u4")
    each = np.unpackbits(left.view(np.uint8)).reshape(-1, 32)
    return each[np.arange(32) < counts[:, None]]


def unpack(values: object, size: tuple[int, int]) -> BoolArray:
    """Return the (H, W) bool pixels of packed bytes: those whose alpha is at least 128.

    Raises:
        DataError: the values are not bytes, have another size, or end too early or too late.
    """
    try:
        data = bytes(values) if isinstance(values, list) else b""  # of a number it would be as many zeros
    except (TypeError, ValueError, OverflowError):
        data = b""
    if 8 * len(data) < _HEAD:
        raise DataError("run lengths of something else than bytes")
    stream = _Bits(data)
    total = size[0] * size[1] * _CHANNELS
    said, bits = stream.take(32), stream.take(5) + 1
    widths = [stream.take(4) + 1 for _ in _WIDTHS]
    if said != total or bits != 8:
        raise DataError(f"run lengths of {said / _CHANNELS:g} pixels of {bits} bits; there are {size[1]}x{size[0]}")
    out = np.zeros(total, np.uint8)
    place = 0
    while place < total:
        repeated = stream.take(1)
        count = stream.take(widths[stream.take(2)]) + 1
        if place + count > total:
            raise DataError("run lengths that go beyond the image")
        if repeated:
            out[place : place + count] = stream.take(8)
        else:
            out[place : place + count] = np.frombuffer(stream.take(8 * count).to_bytes(count, "big"), np.uint8)
        place += count
    return out.reshape(*size, _CHANNELS)[..., _CHANNELS - 1] >= _OPAQUE


class _Bits:
    """Bytes read bit by bit, highest bit first."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def take(self, count: int) -> int:
        """Return the next `count` bits as a number.

        Raises:
            DataError: there are fewer bits left.
        """
        end = self.place + count
        if end > 8 * len(self.data):
            raise DataError("run lengths that end before the image does")
        chunk = int.from_bytes(self.data[self.place // 8 : -(-end // 8)], "big")
        self.place = end
        return chunk >> (-end % 8) & ((1 << count) - 1)
