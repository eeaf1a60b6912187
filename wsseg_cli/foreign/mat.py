"""Reads the class masks of SBD, MATLAB 5 files with a struct GTcls: only the records that they need, within limits.

SciPy's reader is compiled code that a damaged file can crash; here every size is checked before it is used.
"""

from __future__ import annotations

import math
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..disk.reading import read_bytes
from ..errors import DataError
from ..types import ByteArray

LARGEST = 64 << 20
"""Largest size in bytes of a file, compressed or not; SBD's files have some ten thousand."""

_HEADER = 128
_MATRIX, _COMPRESSED = 14, 15
_STRUCT, _NUMBERS, _FRACTIONS = 2, range(6, 16), (6, 7)
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_MOST_FIELDS = 64


class _Broken(ValueError):
    """A file whose content contradicts itself."""


class _Element(NamedTuple):
    kind: int
    data: memoryview


class _Array(NamedTuple):
    """A MATLAB array: class, sides, name, and the elements that follow."""

    kind: int
    sides: tuple[int, ...]
    name: str
    rest: list[_Element]


def read_sbd_mask(path: Path) -> ByteArray:
    """Return the (H, W) uint8 class mask of an SBD `cls/*.mat` file: 0 is background, there is no ignore.

    Raises:
        DataError: the file is missing, broken, too large, not a MATLAB 5 file, or without GTcls.Segmentation.
    """
    try:
        data = read_bytes(path, LARGEST)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); expected a file of SBD's folder cls/") from error
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise DataError(f"{path}: no MATLAB 5 file; expected a file of SBD's folder cls/")
    order = "<" if data[126:128] == b"IM" else ">"
    try:
        mask = _segmentation(memoryview(data)[_HEADER:], order)
    except (_Broken, zlib.error) as error:
        raise DataError(f"{path}: broken ({error}); expected a file of SBD's folder cls/") from None
    if mask is None:
        raise DataError(f"{path}: has no GTcls.Segmentation; expected a file of SBD's folder cls/")
    if mask.ndim != 2 or mask.dtype.kind not in "iub" or not mask.size:
        raise DataError(f"{path}: GTcls.Segmentation is {mask.dtype} {mask.shape}; expected a mask of whole numbers")
    if mask.min() < 0 or mask.max() > 255:
        raise DataError(f"{path}: GTcls.Segmentation has values outside 0..255")
    return np.ascontiguousarray(mask, np.uint8)


def _segmentation(data: memoryview, order: str) -> np.ndarray | None:
    """Return GTcls.Segmentation, None if there is none."""
    for element in _elements(data, order):
        if element.kind == _COMPRESSED:
            element = next(_elements(memoryview(_unfolded(element.data)), order), element)
        if element.kind != _MATRIX:
            continue
        array = _array(element.data, order)
        if array.name == "GTcls" and array.kind == _STRUCT:
            found = _field(array, "Segmentation", order)
            return None if found is None else _numbers(found, order)
    return None


def _elements(data: memoryview, order: str) -> Iterator[_Element]:
    """Yield the elements of a part of the file, including the short ones of eight bytes."""
    at = 0
    while at + 8 <= len(data):
        first, size = struct.unpack_from(f"{order}II", data, at)
        if first >> 16:  # a short one: its size is in the upper half, followed by its data
            kind, size, start, step = first & 0xFFFF, first >> 16, at + 4, 8
            if size > 4:
                raise _Broken(f"a short element of {size} bytes")
        else:
            kind, start = first, at + 8
            # compressed elements have no padding
            step = 8 + size + (0 if kind == _COMPRESSED else -size % 8)
        if start + size > len(data):
            raise _Broken(f"cut off: an element of {size:,} bytes where {len(data) - start:,} are left")
        yield _Element(kind, data[start : start + size])
        at += step


def _array(data: memoryview, order: str) -> _Array:
    flags, sides, name, *rest = _some(data, order)
    if flags.kind != 6 or len(flags.data) != 8 or sides.kind != 5 or len(sides.data) % 4 or name.kind not in (1, 2):
        raise _Broken("an array without class, sides and name")
    (kind,) = struct.unpack_from(f"{order}I", flags.data)
    numbers = struct.unpack(f"{order}{len(sides.data) // 4}i", sides.data)
    if len(numbers) > 32 or any(number < 0 for number in numbers):
        raise _Broken(f"an array of the sides {numbers[:32]}")
    return _Array(kind & 0xFF, numbers, bytes(name.data[:64]).decode("latin-1"), rest)


def _some(data: memoryview, order: str) -> list[_Element]:
    found: list[_Element] = []
    for element in _elements(data, order):
        found.append(element)
        if len(found) > _MOST_FIELDS:
            raise _Broken(f"an array of more than {_MOST_FIELDS} parts")
    if len(found) < 3:
        raise _Broken("an array without class, sides and name")
    return found


def _field(array: _Array, name: str, order: str) -> _Array | None:
    """Return a field of a struct of one element."""
    if math.prod(array.sides) != 1 or len(array.rest) < 2 or len(array.rest[0].data) != 4:
        raise _Broken("a struct without fields")
    (width,) = struct.unpack(f"{order}i", array.rest[0].data)
    text = bytes(array.rest[1].data)
    if not 0 < width <= 64:
        raise _Broken(f"field names of {width} letters")
    names = [text[at : at + width].split(b"\0")[0].decode("latin-1") for at in range(0, len(text), width)]
    if name not in names or len(array.rest) < 2 + len(names):
        return None
    element = array.rest[2 + names.index(name)]
    return _array(element.data, order) if element.kind == _MATRIX and element.data else None


def _numbers(array: _Array, order: str) -> np.ndarray | None:
    """Return the numbers of an array in its declared shape, column by column as stored by MATLAB."""
    if array.kind not in _NUMBERS or not array.rest or array.rest[0].kind not in _TYPES:
        return None
    dtype = np.dtype(_TYPES[array.rest[0].kind]).newbyteorder("<" if order == "<" else ">")
    count, data = math.prod(array.sides), array.rest[0].data
    if count * dtype.itemsize != len(data):
        raise _Broken(f"an array of the sides {array.sides} in {len(data):,} bytes")
    try:
        values = np.frombuffer(data, dtype).reshape(array.sides, order="F")
    except ValueError as error:  # shapes without elements that numpy does not accept
        raise _Broken(f"an array of the sides {array.sides}") from error
    # numbers of class double are stored in the smallest type that holds them
    return values.astype(np.float64) if array.kind in _FRACTIONS else values


def _unfolded(packed: memoryview) -> bytes:
    reader = zlib.decompressobj()
    data = reader.decompress(packed, LARGEST)
    if reader.unconsumed_tail:
        raise _Broken(f"unfolds into more than {LARGEST:,} bytes")
    return data
