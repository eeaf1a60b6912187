"""Read the weights of a `.caffemodel` without Caffe: just enough of protobuf's wire format; nothing is executed."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from ..disk.reading import read_bytes
from ..errors import CheckpointError

FloatArray = npt.NDArray[np.float32]

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
# Far above any network; they keep a malicious file from exhausting the memory.
_MOST_AXES, _MOST_BLOBS, _MOST_LAYERS, _MOST_FIELDS = 32, 64, 20_000, 2_000_000
_LARGEST = 4 << 30  # bytes

# Layer types from before they had names: numbers in the second layout of the format.
_OLD_TYPES = {4: "Convolution", 14: "InnerProduct", 39: "Deconvolution"}
_OLDEST_TYPES = {"conv": "Convolution", "innerproduct": "InnerProduct"}


class Piece(NamedTuple):
    """The bytes of a field and their offset in the file."""

    start: int
    view: memoryview


Value = int | Piece


@dataclass
class Layer:
    """One layer in the file: its name, its type as named by Caffe, its arrays in order."""

    name: str
    type: str
    blobs: list[FloatArray] = field(default_factory=list)


def read(path: Path | str) -> dict[str, Tensor]:
    """Return the tensors of a `.caffemodel` by the names of its layers: "conv1.weight", "bn_conv1.running_var", ….

    Convolutions and inner products give weight and bias. A BatchNorm gives running mean and variance, divided by their
    count, and takes weight and bias from the Scale layer that follows it. Layers without weights are left out.

    Raises:
        CheckpointError: the file is missing, or not a complete caffemodel.
    """
    return {name: torch.from_numpy(array) for name, array in tensors(layers(path), str(path)).items()}


def layers(path: Path | str) -> list[Layer]:
    """Return the layers of a `.caffemodel` that hold arrays, in the order of the file.

    Raises:
        CheckpointError: the file is missing, or not a complete caffemodel.
    """
    try:
        data = read_bytes(path, _LARGEST)
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from error
    net = _Message(Piece(0, memoryview(data)), str(path), _Budget(_MOST_FIELDS))
    found = list(_layers(net))
    if not found:
        raise CheckpointError(
            f"{path}: holds no layer with weights; expected a trained .caffemodel, not a .prototxt or a solver state"
        )
    return found


def tensors(found: list[Layer], where: str) -> dict[str, FloatArray]:
    """Return the named tensors of layers in the order of a file; `where` is named in errors.

    Raises:
        CheckpointError: a layer has more or fewer arrays than its type needs, or a Scale has no BatchNorm before it.
    """
    named: dict[str, FloatArray] = {}
    norm = ""
    for layer in found:
        if layer.type == "BatchNorm":
            mean, variance, count = _blobs(layer, (3,), where)
            norm = layer.name
            factor = count.reshape(-1)[0] if count.size else np.float32(0)
            factor = np.float32(1) / factor if factor else np.float32(0)  # as Caffe does with a count of zero
            named[f"{norm}.running_mean"] = mean.reshape(-1) * factor
            named[f"{norm}.running_var"] = variance.reshape(-1) * factor
        elif layer.type == "Scale":
            weight, *bias = _blobs(layer, (1, 2), where)
            if not norm:
                raise CheckpointError(f"{where}: Scale layer {layer.name!r} has no BatchNorm before it")
            named[f"{norm}.weight"] = weight.reshape(-1)
            named[f"{norm}.bias"] = bias[0].reshape(-1) if bias else np.zeros(weight.size, np.float32)
            norm = ""
        elif layer.type in ("Convolution", "Deconvolution", "InnerProduct"):
            weight, *bias = _blobs(layer, (1, 2), where)
            if layer.type == "InnerProduct":
                weight = weight.reshape(weight.shape[-2:])
            named[f"{layer.name}.weight"] = weight
            if bias:
                named[f"{layer.name}.bias"] = bias[0].reshape(-1)
        else:
            raise CheckpointError(
                f"{where}: layer {layer.name!r} has arrays and the type {layer.type!r}; known are Convolution, "
                "Deconvolution, InnerProduct, BatchNorm, Scale"
            )
    return named


def _blobs(layer: Layer, counts: tuple[int, ...], where: str) -> list[FloatArray]:
    if len(layer.blobs) not in counts:
        wanted = " or ".join(map(str, counts))
        raise CheckpointError(
            f"{where}: layer {layer.name!r} ({layer.type}) has {len(layer.blobs)} arrays, expected {wanted}"
        )
    return layer.blobs


def _layers(net: _Message) -> Iterator[Layer]:
    """Yield the layers of a NetParameter that have arrays, in all three layouts of the format."""
    for count, (number, value) in enumerate((n, v) for n, v in net if n in (2, 100)):
        if count > _MOST_LAYERS:
            raise net.broken(f"it has more than {_MOST_LAYERS} layers")
        if number == 100:
            message, name_at, type_at, blobs_at = net.inside(value, "layer"), 1, 2, 7
        else:
            message, name_at, type_at, blobs_at = net.inside(value, "layer"), 4, 5, 6
            nested = next((piece for n, piece in message if n == 1), None)
            if nested is not None:  # the oldest layout: name, type and arrays are one message deeper
                message, name_at, type_at, blobs_at = message.inside(nested, "layer"), 1, 2, 50
        layer = Layer("", "")
        for field_number, value in message:
            if field_number == name_at:
                layer.name = _text(value)
            elif field_number == type_at:
                layer.type = _type(value)
            elif field_number == blobs_at:
                layer.blobs.append(_blob(message.inside(value, "blob")))
            if len(layer.blobs) > _MOST_BLOBS:
                raise message.broken(f"a layer has more than {_MOST_BLOBS} arrays")
        if layer.blobs:
            yield layer


def _type(value: Value) -> str:
    if isinstance(value, int):
        return _OLD_TYPES.get(value, f"number {value}")
    return _OLDEST_TYPES.get(_text(value), _text(value))


def _text(value: Value) -> str:
    return "" if isinstance(value, int) else bytes(value.view[:1000]).decode("utf-8", "replace")


def _blob(message: _Message) -> FloatArray:
    """Return the array of a BlobProto as float32.

    Raises:
        CheckpointError: the shape does not match the number of values.
    """
    single, double = bytearray(), bytearray()
    old_shape = {number: 1 for number in (1, 2, 3, 4)}
    shape: list[int] | None = None
    has_old = False
    for number, value in message:
        if number in old_shape and isinstance(value, int):
            old_shape[number], has_old = value, True
        elif number in (5, 8) and not isinstance(value, int):
            data = single if number == 5 else double
            data += value.view
        elif number == 7:
            shape = [size for n, v in message.inside(value, "shape") if n == 1 for size in message.integers(v)]
    if len(single) % 4 or len(double) % 8:
        raise message.broken("a list of numbers is cut off")
    values = np.frombuffer(single, "<f4") if single else np.frombuffer(double, "<f8")
    if shape is None:
        shape = [old_shape[n] for n in (1, 2, 3, 4)] if has_old else [values.size]
    if len(shape) > _MOST_AXES or max(shape, default=0) >= 1 << 40 or math.prod(shape) != values.size:
        raise message.broken(f"an array of {values.size} numbers says that its shape is {shape[:_MOST_AXES]}")
    try:
        return values.astype(np.float32).reshape(shape)
    except ValueError as error:  # shapes without elements that numpy does not accept
        raise message.broken(f"an array of the shape {shape}") from error


@dataclass
class _Budget:
    """Number of fields that the messages of one file may still have in total."""

    left: int


class _Message:
    """Fields of one protobuf message, (number, value): an int for a varint and a `Piece` for anything else."""

    def __init__(self, piece: Piece, where: str, budget: _Budget) -> None:
        self.start, self.view = piece
        self.where, self.budget = where, budget

    def broken(self, why: str) -> CheckpointError:
        return CheckpointError(
            f"{self.where}: not a whole .caffemodel: {why} (in the message at byte {self.start}); fetch the file again"
        )

    def inside(self, value: Value, what: str) -> _Message:
        """Return the message in a field."""
        if isinstance(value, int):
            raise self.broken(f"a number stands in place of a {what}")
        return _Message(value, self.where, self.budget)

    def integers(self, value: Value) -> list[int]:
        """Return the integers of a field, packed or single."""
        if isinstance(value, int):
            return [value]
        found: list[int] = []
        at = 0
        while at < len(value.view) and len(found) <= _MOST_AXES:
            number, at = self._varint(value.view, at)
            found.append(number)
        return found

    def _varint(self, view: memoryview, at: int) -> tuple[int, int]:
        value = 0
        for shift in range(0, 70, 7):
            if at >= len(view):
                raise self.broken("it ends inside a number")
            byte = view[at]
            at += 1
            value |= (byte & 127) << shift
            if byte < 128:
                return value, at
        raise self.broken("a number is longer than ten bytes")

    def __iter__(self) -> Iterator[tuple[int, Value]]:
        at, end = 0, len(self.view)
        while at < end:
            self.budget.left -= 1
            if self.budget.left < 0:
                raise self.broken(f"it has more than {_MOST_FIELDS:,} fields")
            key, at = self._varint(self.view, at)
            number, wire = key >> 3, key & 7
            if wire == _VARINT:
                value, at = self._varint(self.view, at)
                yield number, value
                continue
            if wire == _BYTES:
                length, at = self._varint(self.view, at)
            elif wire in (_FIXED32, _FIXED64):
                length = 4 if wire == _FIXED32 else 8
            else:
                raise self.broken(f"a field of the unknown kind {wire}")
            if length > end - at or number == 0:
                raise self.broken(f"a field wants {length} bytes, {end - at} are left")
            yield number, Piece(self.start + at, self.view[at : at + length])
            at += length
