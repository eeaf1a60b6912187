"""Checkpoints as other systems write them, for tests: MXNet's `.params` and Caffe's `.caffemodel`."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def write_params(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write float32 arrays in MXNet's second format."""
    with path.open("wb") as file:
        file.write(struct.pack("<QQQ", 0x112, 0, len(arrays)))
        for array in arrays.values():
            file.write(struct.pack(f"<Iii{array.ndim}qiii", 0xF993FAC9, 0, array.ndim, *array.shape, 1, 0, 0))
            file.write(np.ascontiguousarray(array, "<f4").tobytes())
        file.write(struct.pack("<Q", len(arrays)))
        for name in arrays:
            file.write(struct.pack("<Q", len(name)) + name.encode())


def write_caffemodel(path: Path, layers: Mapping[str, tuple[np.ndarray, ...]]) -> None:
    """Write convolutions, weight and bias by name."""
    with path.open("wb") as file:
        for name, arrays in layers.items():
            blobs = b"".join(_field(7, _blob(array)) for array in arrays)
            file.write(_field(100, _field(1, name.encode()) + _field(2, b"Convolution") + blobs))


def _blob(array: np.ndarray) -> bytes:
    shape = b"".join(_varint(side) for side in array.shape)
    return _field(7, _field(1, shape)) + _field(5, np.ascontiguousarray(array, "<f4").tobytes())


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])
