"""Writes dicts of arrays and tensors that published repositories can read by `numpy.load(…, allow_pickle=True)`.

The opcodes are written by hand, in pickle's protocol 3 and with the module names of numpy before 2: files of current
numpy cannot be read by the numpy that those repositories pin.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

_HEADER = b"{'descr': '|O', 'fortran_order': False, 'shape': (), }"
_TORCH = {"<f4": "FloatStorage", "<i8": "LongStorage"}


@dataclass(frozen=True)
class AsTensor:
    """An array, float32 or int64, that is written as a torch tensor: IRN and PuzzleCAM have such in their dicts."""

    numbers: npt.NDArray[Any]


def npy_bytes(value: dict[Any, Any]) -> bytes:
    """Return the bytes of a `.npy` file whose `item()` is `value`.

    value: keys are str or int, values str, int, arrays of numbers or `AsTensor`.
    """
    padding = -(10 + len(_HEADER) + 1) % 64
    header = _HEADER + b" " * padding + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + b"\x80\x03" + _object_array(value) + b"."


def _object_array(value: dict[Any, Any]) -> bytes:
    return _array_of((), "O8", "|", b"](" + _encode(value) + b"e")


def _array_of(shape: tuple[int, ...], code: str, order: str, numbers: bytes) -> bytes:
    dtype = b"cnumpy\ndtype\n" + _tuple(_text(code), _int(0), _int(1)) + b"R"
    flags = 63 if code == "O8" else 0
    dtype += _tuple(_int(3), _text(order), b"N", b"N", b"N", _int(-1), _int(-1), _int(flags)) + b"b"
    empty = b"cnumpy.core.multiarray\n_reconstruct\n"
    empty += _tuple(b"cnumpy\nndarray\n", _tuple(_int(0)), _bytes(b"b")) + b"R"
    return empty + _tuple(_int(1), _tuple(*map(_int, shape)), dtype, b"\x89", numbers) + b"b"


def _encode(value: Any) -> bytes:
    if isinstance(value, dict):
        items = b"".join(_encode(key) + _encode(part) for key, part in value.items())
        return b"}(" + items + b"u"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, AsTensor):
        return _tensor(value.numbers)
    if isinstance(value, np.ndarray):
        # ascontiguousarray would turn an array without axes into one with one axis
        numbers = np.asarray(value, dtype=value.dtype.newbyteorder("<"), order="C")
        return _array_of(numbers.shape, numbers.dtype.str[1:], numbers.dtype.str[0], _bytes(numbers.tobytes()))
    return _int(int(value))


def _tensor(value: npt.NDArray[Any]) -> bytes:
    numbers = np.asarray(value, order="C")
    stride = [step // numbers.itemsize for step in numbers.strides]
    storage = b"ctorch.storage\n_load_from_bytes\n" + _tuple(_bytes(_storage(numbers))) + b"R"
    hooks = b"ccollections\nOrderedDict\n)R"
    parts = storage, _int(0), _tuple(*map(_int, numbers.shape)), _tuple(*map(_int, stride)), b"\x89", hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n" + _tuple(*parts) + b"R"


def _storage(numbers: npt.NDArray[Any]) -> bytes:
    kind = _TORCH[numbers.dtype.str]
    magic = b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
    sizes = {"short": 2, "int": 4, "long": 4}
    system = b"}(" + _text("protocol_version") + _int(1001) + _text("little_endian") + b"\x88"
    system += _text("type_sizes") + _encode(sizes) + b"u"
    described = [
        _text("storage"),
        b"ctorch\n" + kind.encode() + b"\n",
        _text("0"),
        _text("cpu"),
        _int(numbers.size),
        b"N",
    ]
    pickles = [magic, _int(1001), system, _tuple(*described) + b"Q", b"](" + _text("0") + b"e"]
    head = b"".join(b"\x80\x02" + part + b"." for part in pickles)
    return head + struct.pack("<q", numbers.size) + numbers.tobytes()


def _tuple(*parts: bytes) -> bytes:
    return b"(" + b"".join(parts) + b"t"


def _int(value: int) -> bytes:
    if -(1 << 31) <= value < 1 << 31:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def _text(value: str) -> bytes:
    data = value.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _bytes(value: bytes) -> bytes:
    return b"B" + struct.pack("<I", len(value)) + value
