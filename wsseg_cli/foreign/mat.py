"""Reads the class masks of SBD, MATLAB files with a struct GTcls, after checking what they would unfold into."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import DataError
from ..types import ByteArray

LARGEST = 64 << 20
"""Bytes that a file, or what it unfolds into, may have; SBD's files have some ten thousand."""

_HEADER = 128
_COMPRESSED = 15


def read_sbd_mask(path: Path) -> ByteArray:
    """Return the (H, W) uint8 class mask of an SBD `cls/*.mat` file: 0 is background, there is no ignore.

    Raises:
        DataError: missing, broken, too large, no MATLAB 5 file, or without GTcls.Segmentation.
    """
    try:
        data = path.read_bytes() if path.stat().st_size <= LARGEST else None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if data is None:
        raise DataError(f"{path}: above {LARGEST:,} bytes; an SBD class mask is far smaller")
    _check_elements(path, data)
    mask = _segmentation(path, data)
    if mask.ndim != 2 or mask.dtype.kind not in "iub" or not mask.size:
        raise DataError(f"{path}: GTcls.Segmentation is {mask.dtype} {mask.shape}; expected a mask of whole numbers")
    if mask.min() < 0 or mask.max() > 255:
        raise DataError(f"{path}: GTcls.Segmentation has values outside 0..255")
    return np.ascontiguousarray(mask, np.uint8)


def _segmentation(path: Path, data: bytes) -> np.ndarray:
    from scipy.io import loadmat

    try:
        found = loadmat(io.BytesIO(data), variable_names=["GTcls"])
    except Exception as error:  # scipy's reader fails in any way on a damaged file
        raise DataError(f"{path}: no readable MATLAB file ({type(error).__name__}: {error})") from error
    try:
        return np.asarray(found["GTcls"]["Segmentation"][0, 0])
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise DataError(f"{path}: has no GTcls.Segmentation; expected a file of SBD's folder cls/") from error


def _check_elements(path: Path, data: bytes) -> None:
    """Walk the elements of a MATLAB 5 file and refuse a size that does not fit, before memory is taken for it."""
    if len(data) < _HEADER or data[126:128] not in (b"IM", b"MI"):
        raise DataError(f"{path}: no MATLAB 5 file; expected a file of SBD's folder cls/")
    order = "<" if data[126:128] == b"IM" else ">"
    at, unfolded = _HEADER, 0
    while at + 8 <= len(data):
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if at + 8 + size > len(data):
            raise DataError(f"{path}: cut off: an element of {size:,} bytes at {at} of {len(data):,}")
        if kind == _COMPRESSED:
            unfolded += _unfolded(path, data[at + 8 : at + 8 + size])
        if unfolded > LARGEST:
            raise DataError(f"{path}: unfolds into more than {LARGEST:,} bytes")
        at += 8 + size


def _unfolded(path: Path, packed: bytes) -> int:
    reader, total, rest = zlib.decompressobj(), 0, packed
    try:
        while rest and total <= LARGEST:
            total += len(reader.decompress(rest, 1 << 20))
            rest = reader.unconsumed_tail
    except zlib.error as error:
        raise DataError(f"{path}: broken ({error})") from error
    return total
