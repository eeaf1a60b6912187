"""Rebuilds torch tensors as arrays from the bytes that torch writes when a tensor is pickled. Does not import torch."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from .opcodes import Budget, Named, Refused, count_of, interpret

_STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2", "LongStorage": "<i8",
    "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "|i1", "ByteStorage": "|u1", "BoolStorage": "|b1",
}  # fmt: skip
_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001


@dataclass(frozen=True)
class Storage:
    """The flat numbers of a torch storage, and whether they are bfloat16 bits."""

    numbers: npt.NDArray[Any]
    bfloat16: bool


def storage(budget: Budget, data: Any = None, *_: Any) -> Storage:
    """Return the numbers of a storage from the bytes that torch wrote for it, in its pre-zip format.

    Raises:
        Refused: the bytes are not in that format, or hold more or fewer numbers than they declare.
    """
    if type(data) is not bytes:
        raise Refused("holds a tensor without its bytes")
    stream = io.BytesIO(data)
    kinds = {f"torch.{name}": Named(name) for name in _STORAGES}
    if interpret(stream, {}, {}) != _MAGIC or interpret(stream, {}, {}) != _PROTOCOL:
        raise Refused("holds a tensor in an unknown form")
    system = interpret(stream, {}, {})
    found = interpret(stream, kinds, {}, persistent=lambda described: described)
    keys = interpret(stream, {}, {})
    if type(system) is not dict or system.get("little_endian") is not True:
        raise Refused("holds a tensor of a big-endian machine")
    if type(found) is not tuple or len(found) != 6 or found[0] != "storage" or found[5] is not None:
        raise Refused("holds a tensor in an unknown form")
    kind, key, count = found[1], found[2], found[4]
    if not isinstance(kind, Named) or type(key) is not str or keys != [key] or type(count) is not int or count < 0:
        raise Refused("holds a tensor in an unknown form")
    dtype = np.dtype(_STORAGES[kind.name])
    written = int.from_bytes(stream.read(8), "little")
    rest = stream.read()
    if written != count or len(rest) != count * dtype.itemsize:
        raise Refused(f"holds a tensor of {count} numbers in {len(rest)} bytes")
    budget.spend(len(rest))
    return Storage(np.frombuffer(rest, dtype), kind.name == "BFloat16Storage")


def tensor(
    budget: Budget, flat: Any = None, offset: Any = 0, shape: Any = (), stride: Any = (), *_: Any
) -> npt.NDArray[Any]:
    """Return a part of a storage as a separate array, bfloat16 as float32.

    offset, stride: in numbers, not bytes.

    Raises:
        Refused: the part reaches past the storage.
    """
    count = count_of(shape)
    if not isinstance(flat, Storage) or type(offset) is not int or offset < 0 or type(stride) is not tuple:
        raise Refused("holds a tensor without its numbers")
    if len(stride) != len(shape) or not all(type(step) is int and 0 <= step < 1 << 40 for step in stride):
        raise Refused("holds a tensor with a broken stride")
    numbers = flat.numbers
    last = offset + sum((side - 1) * step for side, step in zip(shape, stride, strict=True))
    if count and last >= len(numbers):
        raise Refused(f"holds a tensor {shape} that reaches past its {len(numbers)} numbers")
    budget.spend(count * (4 if flat.bfloat16 else numbers.itemsize))
    if not count:
        view = np.empty(shape, numbers.dtype)
    else:
        steps = tuple(step * numbers.itemsize for step in stride)
        view = np.lib.stride_tricks.as_strided(numbers[offset:], shape, steps, writeable=False).copy()
    if flat.bfloat16:
        return (view.astype(np.uint32) << 16).view(np.float32)
    return view
