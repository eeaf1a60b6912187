"""MXNet `.params` files, all generations of the format, without MXNet."""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor

from ..disk.reading import open_regular
from ..errors import CheckpointError

_LIST = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DENSE = 0
_MOST_DIMENSIONS, _MOST_ARRAYS = 8, 50_000
# type flags of MXNet; 7 appeared with its NumPy interface
_TYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "|u1", 4: "<i4", 5: "|i1", 6: "<i8", 7: "|b1"}


def read(path: Path | str) -> dict[str, Tensor]:
    """Return the arrays of an MXNet parameter file by name (such as `arg:conv1a_weight`), in the order of the file.

    Types are kept; arrays without names are called "0", "1", …

    Raises:
        CheckpointError: the file cannot be read, is not a parameter file, is truncated, or holds sparse arrays.
    """
    path = Path(path)
    try:
        with open_regular(path) as file:
            return _Reader(path, file, os.fstat(file.fileno()).st_size).arrays()
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error


class _Reader:
    """Reads one open file from front to back and never asks for more bytes than it has."""

    def __init__(self, path: Path, file: BinaryIO, size: int) -> None:
        self.path, self.file, self.left = path, file, size

    def arrays(self) -> dict[str, Tensor]:
        magic = self.numbers("<Q")[0] if self.left >= 8 else 0
        if magic != _LIST:
            raise CheckpointError(
                f"{self.path} is not an MXNet .params file: it starts with {magic:#x}, expected {_LIST:#x}"
            )
        _, count = self.numbers("<QQ")
        self.need(count * 4, f"{count} arrays")
        if count > _MOST_ARRAYS:
            raise CheckpointError(f"{self.path} says that it has {count} arrays; the file is damaged")
        values = [self.array(index) for index in range(count)]
        (named,) = self.numbers("<Q")
        if named not in (0, count):
            raise CheckpointError(f"{self.path} has {count} arrays but {named} names; the file is damaged")
        names = [self.name() for _ in range(named)] or [str(index) for index in range(count)]
        if len(set(names)) != count:
            raise CheckpointError(f"{self.path} gives one name to several arrays; the file is damaged")
        return dict(zip(names, values, strict=True))

    def array(self, index: int) -> Tensor:
        (tag,) = self.numbers("<I")
        if tag in (_V2, _V3):
            (storage,) = self.numbers("<i")
            if storage != _DENSE:
                raise CheckpointError(
                    f"array {index} of {self.path} is sparse (storage type {storage}); only dense is read"
                )
        if tag in (_V1, _V2, _V3):
            (dimensions,) = self.numbers("<i")
            width = "q"
        else:  # the oldest generation has the number of dimensions in place of the tag
            dimensions, width = tag, "I"
        if dimensions == (-1 if tag == _V3 else 0):
            return torch.empty(0)
        if not 0 <= dimensions <= _MOST_DIMENSIONS:
            raise CheckpointError(
                f"array {index} of {self.path} has {dimensions} dimensions, expected at most {_MOST_DIMENSIONS}; "
                "the file is damaged"
            )
        shape = self.numbers(f"<{dimensions}{width}")
        _, _, flag = self.numbers("<iii")  # kind and number of the array's device, then its type
        if flag not in _TYPES or min(shape, default=0) < 0:
            raise CheckpointError(
                f"array {index} of {self.path} has type {flag} and shape {shape}; the file is damaged"
            )
        dtype = np.dtype(_TYPES[flag])
        self.need(math.prod(shape) * dtype.itemsize, f"array {index} of shape {shape}")
        data = np.frombuffer(bytearray(self.take(math.prod(shape) * dtype.itemsize)), dtype)
        try:
            return torch.from_numpy(data.astype(dtype.newbyteorder("="), copy=False).reshape(shape))
        except (ValueError, TypeError) as error:  # shapes without elements that numpy does not accept
            raise CheckpointError(f"array {index} of {self.path} has shape {shape}; the file is damaged") from error

    def name(self) -> str:
        (length,) = self.numbers("<Q")
        self.need(length, "a name")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise CheckpointError(f"a name in {self.path} is not text; the file is damaged") from error

    def numbers(self, layout: str) -> tuple[int, ...]:
        size = struct.calcsize(layout)
        self.need(size, "a number")
        return struct.unpack(layout, self.take(size))

    def take(self, size: int) -> bytes:
        self.left -= size
        return self.file.read(size)

    def need(self, size: int, what: str) -> None:
        if size > self.left:
            raise CheckpointError(
                f"{self.path} ends too early: {what} needs {size} bytes and {self.left} are left; "
                "is the download complete?"
            )
