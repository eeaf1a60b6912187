"""Reads third-party `.npy` and `.pkl` files: dicts, strings, numbers, numpy arrays and torch tensors, nothing else.

Nothing is executed: `opcodes` follows the pickle, the constructors here rebuild arrays from their bytes, and tensors
become arrays.
"""

from __future__ import annotations

import io
import re
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from ..disk.reading import read_bytes
from ..errors import DataError
from .opcodes import Budget, Named, Refused, count_of, interpret
from .tensors import storage, tensor

LARGEST = 2 << 30
"""Largest file that is read, in bytes; the CAMs of a COCO photo at full resolution take a tenth of it."""

_NPY = b"\x93NUMPY"
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
_DTYPE = re.compile(r"[<>|=]?(b1|[iu][1248]|f[248]|O8?)")
_TEXT = re.compile(r"[<>|=]?[SU]\d{1,4}")


def read(path: Path) -> Any:
    """Return the content of a `.npy` or `.pkl` file: an array, or dicts, lists, strings and numbers with arrays inside.

    An object array without axes, which `numpy.save` makes of a dict, is returned as its content. Torch tensors are
    returned as arrays, bfloat16 as float32.

    Raises:
        DataError: the file is missing, broken or too large, or holds anything else. Nothing in it has been executed.
    """
    try:
        data = read_bytes(path, LARGEST)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        return parse(data)
    except Refused as error:
        raise DataError(
            f"{path}: {error}. Expected a .npy or .pkl file of dicts, strings, numbers, numpy arrays or torch tensors"
        ) from error


def parse(data: bytes) -> Any:
    """Return the content of the bytes of a `.npy` or `.pkl` file, as `read` does.

    Raises:
        Refused: the bytes are broken, or hold something that is not data.
    """
    if not data:
        raise Refused("is empty")
    budget = Budget(4 * len(data) + (1 << 20))
    stream = io.BytesIO(data)
    if not data.startswith(_NPY):
        value = _pickled(stream, budget)
    else:
        shape, fortran, dtype = _header(stream)
        if not dtype.hasobject:
            return _plain(stream, len(data), shape, fortran, dtype)
        value = _pickled(stream, budget)
        if isinstance(value, np.ndarray) and value.shape == () and value.dtype.hasobject:
            value = value.item()
    _check_data(value)
    return value


def _header(stream: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    try:
        version = np.lib.format.read_magic(stream)
        if version not in _HEADERS:
            raise ValueError(f"version {version[0]}.{version[1]}")
        shape, fortran, dtype = _HEADERS[version](stream)
    except Exception as error:  # numpy parses the header as Python text, which can fail in any way
        raise Refused(f"has a broken .npy header ({type(error).__name__}: {str(error)[:80]})") from error
    if dtype.str != "|O" and not _DTYPE.fullmatch(dtype.str):
        raise Refused(f"holds an array of type {dtype.str[:40]}")
    return shape, fortran, dtype


def _plain(
    stream: BinaryIO, size: int, shape: tuple[int, ...], fortran: bool, dtype: np.dtype[Any]
) -> npt.NDArray[Any]:
    have, need = size - stream.tell(), count_of(shape) * dtype.itemsize
    if have != need:
        raise Refused(f"holds {have:,} bytes of numbers, but its header {shape} {dtype} asks for {need:,}")
    flat = np.frombuffer(bytearray(stream.read()), dtype)
    return flat.reshape(shape, order="F" if fortran else "C")


def _pickled(stream: BinaryIO, budget: Budget) -> Any:
    return interpret(stream, _names(budget), {_Dtype: _Dtype.fill, np.ndarray: partial(_fill_array, budget)})


class _Dtype:
    """The dtype that a stream describes: its code comes first, its byte order with the state."""

    def __init__(self, code: Any = None, *_: Any) -> None:
        if not isinstance(code, str) or not (_DTYPE.fullmatch(code) or _TEXT.fullmatch(code)):
            raise Refused(f"holds an array of type {str(code)[:40]!r}")
        self.dtype: np.dtype[Any] = np.dtype(code)

    def fill(self, state: Any) -> None:
        # (version, byte order, subarray, field names, fields, item size, alignment, flags); sizes are in the code
        if type(state) is not tuple or len(state) < 5 or any(part is not None for part in state[2:5]):
            raise Refused("holds an array of records")
        if state[1] not in ("<", ">", "|", "="):
            raise Refused("holds a dtype of unknown byte order")
        self.dtype = self.dtype.newbyteorder(state[1])


def _names(budget: Budget) -> dict[str, Named]:
    """Return the names allowed in a stream, numpy's functions under their old and new modules."""
    known = {
        "numpy.ndarray": Named("ndarray"),
        "numpy.dtype": Named("dtype", _Dtype),
        "_codecs.encode": Named("encode", partial(_encode, budget)),
        "collections.OrderedDict": Named("OrderedDict", _ordered),
        "__builtin__.bytes": Named("bytes", _no_bytes),
        "builtins.bytes": Named("bytes", _no_bytes),
        "torch.storage._load_from_bytes": Named("storage", partial(storage, budget)),
        "torch._utils._rebuild_tensor": Named("tensor", partial(tensor, budget)),
        "torch._utils._rebuild_tensor_v2": Named("tensor", partial(tensor, budget)),
    }
    for core in ("numpy.core", "numpy._core"):
        known[f"{core}.multiarray._reconstruct"] = Named("_reconstruct", _empty)
        known[f"{core}.multiarray.scalar"] = Named("scalar", _scalar)
        known[f"{core}.numeric._frombuffer"] = Named("_frombuffer", partial(_from_buffer, budget))
    return known


def _empty(kind: Any = None, *_: Any) -> npt.NDArray[Any]:
    # as numpy does: first an array without elements, which the stream can refer to, then its state in place
    if not isinstance(kind, Named) or kind.name != "ndarray":
        raise Refused("holds an array of an unknown kind")
    return np.empty(0, np.int8)


def _fill_array(budget: Budget, array: npt.NDArray[Any], state: Any) -> None:
    if type(state) is not tuple or len(state) != 5 or not isinstance(state[2], _Dtype):
        raise Refused("holds an array with a broken state")
    _, shape, described, fortran, numbers = state
    dtype = _numeric(described)
    count = count_of(shape)
    if dtype.hasobject:
        if type(numbers) is not list or len(numbers) != count:
            raise Refused(f"holds an object array {shape} without its {count} parts")
    else:
        # Python 2 wrote bytes as strings of latin-1
        numbers = numbers.encode("latin-1") if isinstance(numbers, str) else numbers
        if not isinstance(numbers, bytes) or len(numbers) != count * dtype.itemsize:
            raise Refused(f"holds an array {shape} {dtype} with another number of bytes")
    budget.spend(len(numbers))
    array.__setstate__((1, shape, dtype, bool(fortran), numbers))  # type: ignore[arg-type]


def _from_buffer(
    budget: Budget, buffer: Any = None, described: Any = None, shape: Any = None, order: Any = "C", *_: Any
) -> npt.NDArray[Any]:
    if not isinstance(described, _Dtype) or described.dtype.hasobject or not isinstance(buffer, (bytes, bytearray)):
        raise Refused("holds an array with a broken state")
    dtype = _numeric(described)
    if len(buffer) != count_of(shape) * dtype.itemsize or order not in ("C", "F"):
        raise Refused(f"holds an array {shape} {dtype} with another number of bytes")
    budget.spend(len(buffer))
    return np.frombuffer(bytearray(buffer), dtype).reshape(shape, order=order)


def _numeric(described: _Dtype) -> np.dtype[Any]:
    """Return the dtype of an array of numbers: text is only allowed as a scalar, such as a key."""
    if described.dtype.kind in "SU":
        raise Refused(f"holds an array of type {described.dtype.str}")
    return described.dtype


def _scalar(described: Any = None, numbers: Any = None, *_: Any) -> Any:
    numbers = numbers.encode("latin-1") if isinstance(numbers, str) else numbers
    if not isinstance(described, _Dtype) or described.dtype.hasobject or type(numbers) is not bytes:
        raise Refused("holds a broken number")
    if len(numbers) != described.dtype.itemsize:
        raise Refused("holds a broken number")
    return np.frombuffer(numbers, described.dtype)[0].item()


def _encode(budget: Budget, text: Any = None, encoding: Any = None, *_: Any) -> bytes:
    if not isinstance(text, str) or encoding != "latin1":
        raise Refused("holds bytes in an unknown encoding")
    budget.spend(len(text))
    return text.encode("latin-1")


def _no_bytes(*arguments: Any) -> bytes:
    if arguments:
        raise Refused("holds bytes in an unknown encoding")
    return b""


def _ordered(*arguments: Any) -> dict[Any, Any]:
    if arguments:
        raise Refused("holds an ordered dict in the form of Python 2")
    return {}


def _check_data(value: Any) -> None:
    """Refuse values still under construction; parts that appear in several places are checked once."""
    seen: set[int] = set()
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if id(part) in seen or part is None or isinstance(part, (str, bytes, bytearray, int, float)):
            continue
        seen.add(id(part))
        if type(part) is dict:
            waiting.extend(part.values())
        elif type(part) in (list, tuple):
            waiting.extend(part)
        elif isinstance(part, np.ndarray):
            if part.dtype.hasobject:
                waiting.extend(part.ravel().tolist())
        else:
            raise Refused("holds a name where a value is expected; nothing was executed")
