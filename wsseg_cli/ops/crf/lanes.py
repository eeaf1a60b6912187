"""Short vectors of float32 inside compiled functions: one machine register, or two, for eight or four numbers at once.

numba does not vectorise the scattered reads and writes of a lattice; with these vectors the same lines run two to four
times faster. `load`, `full` make a vector of `width` numbers; + - * and the functions below work on it; `store` writes
it. `width` has to be a constant (4 or 8). numba keys the machine code that it caches on disk by the calling file alone:
after a change here, delete `__pycache__/*.nbi`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import extending
from numba.core import types
from numba.core.datamodel import models

intrinsic: Any = extending.intrinsic
"""Untyped, since a compiled call has different arguments from the function that emits it."""
FREE = ("contract", "nsz", "arcp")
"""Freedoms of the arithmetic: fused multiply-add, sign of zero, division by multiplication; NaN and order are kept."""


class Lanes(types.Type):  # type: ignore[misc]
    """Type of a vector of `width` float32."""

    def __init__(self, width: int) -> None:
        self.width = width
        super().__init__(name=f"Lanes({width})")


@extending.register_model(Lanes)
class LanesModel(models.PrimitiveModel):  # type: ignore[misc]
    """A vector is a register of LLVM."""

    def __init__(self, manager: Any, kind: Lanes) -> None:
        super().__init__(manager, kind, _vector(kind.width))


def _vector(width: int, element: Any = None) -> Any:
    return ir.VectorType(element or ir.FloatType(), width)


def _constant(width: int, value: float) -> Any:
    return ir.Constant(_vector(width), [float(np.float32(value))] * width)


def _spread(builder: Any, number: Any, width: int) -> Any:
    kind = _vector(width)
    empty = ir.Constant(kind, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, empty, ir.Constant(_vector(width, ir.IntType(32)), [0] * width))


def _address(context: Any, builder: Any, signature: Any, arguments: Any, width: int) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    index = context.cast(builder, arguments[1], signature.args[1], types.intp)
    return builder.bitcast(builder.gep(array.data, [index]), _vector(width).as_pointer())


@intrinsic(prefer_literal=True)
def load(typing: Any, array: Any, index: Any, width: Any) -> Any:
    """Return array[index : index + width] of a flat float32 array, unchecked."""
    if not isinstance(width, types.IntegerLiteral):
        return None
    lanes = width.literal_value

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature, arguments, lanes), align=4)

    return Lanes(lanes)(array, index, width), emit


@intrinsic
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write a vector to array[index : index + width] of a flat float32 array, unchecked."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(context, builder, signature, arguments, value.width), align=4)
        return context.get_dummy_value()

    return types.void(array, index, value), emit


@intrinsic(prefer_literal=True)
def full(typing: Any, number: Any, width: Any) -> Any:
    """Return a vector of `width` times the same float32."""
    if not isinstance(width, types.IntegerLiteral):
        return None
    lanes = width.literal_value

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return _spread(builder, arguments[0], lanes)

    return Lanes(lanes)(types.float32, width), emit


def _pairwise(emit_pair: Callable[[Any, Any, Any], Any]) -> Any:
    """Return the function of two vectors (or a vector and a float32) that `emit_pair` writes in LLVM."""

    @intrinsic
    def of_two(typing: Any, a: Any, b: Any) -> Any:
        width = a.width if isinstance(a, Lanes) else b.width

        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            both = [
                value if isinstance(kind, Lanes) else _spread(builder, value, width)
                for value, kind in zip(arguments, signature.args, strict=True)
            ]
            return emit_pair(builder, *both)

        kinds = [kind if isinstance(kind, Lanes) else types.float32 for kind in (a, b)]
        return Lanes(width)(*kinds), emit

    return of_two


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _is_less(builder: Any, a: Any, b: Any) -> Any:
    width = a.type.count
    return builder.select(builder.fcmp_ordered("<", a, b), _constant(width, 1), _constant(width, 0))


maximum = _pairwise(_larger)
less = _pairwise(_is_less)
"""1 where a < b, else 0."""
_add = _pairwise(lambda builder, a, b: builder.fadd(a, b, flags=FREE))
_subtract = _pairwise(lambda builder, a, b: builder.fsub(a, b, flags=FREE))
_multiply = _pairwise(lambda builder, a, b: builder.fmul(a, b, flags=FREE))


def _is_vector(a: Any, b: Any) -> bool:
    return isinstance(a, Lanes) or isinstance(b, Lanes)


def _overload(symbol: Any, function: Any) -> None:
    # numba compares parameter names and annotations of the two: they have none
    def typed(a, b):
        return (lambda a, b: function(a, b)) if _is_vector(a, b) else None

    extending.overload(symbol)(typed)


_overload(operator.add, _add)
_overload(operator.sub, _subtract)
_overload(operator.mul, _multiply)


def _fold(emit_pair: Callable[[Any, Any, Any], Any]) -> Any:
    """Return the function that folds a vector's halves until one number is left."""

    @intrinsic
    def of_one(typing: Any, a: Any) -> Any:
        def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            value, width = arguments[0], a.width
            while width > 1:
                width //= 2
                empty = ir.Constant(value.type, ir.Undefined)
                low, high = (
                    ir.Constant(_vector(width, ir.IntType(32)), list(range(first, first + width)))
                    for first in (0, width)
                )
                value = emit_pair(
                    builder, builder.shuffle_vector(value, empty, low), builder.shuffle_vector(value, empty, high)
                )
            return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))

        return types.float32(a), emit

    return of_one


total = _fold(lambda builder, a, b: builder.fadd(a, b, flags=FREE))
highest = _fold(_larger)


def _nearest(builder: Any, value: Any) -> Any:
    # adding and subtracting 1.5 * 2**23 leaves no room for a fraction: rounds half to even, below 2**22
    big = _constant(value.type.count, 1.5 * 2**23)
    return builder.fsub(builder.fadd(value, big), big)


@intrinsic
def nearest(typing: Any, a: Any) -> Any:
    """Return the nearest integers, half to even; |a| below 2**22."""
    return a(a), lambda context, builder, signature, arguments: _nearest(builder, arguments[0])


@intrinsic
def exp(typing: Any, a: Any) -> Any:
    """Return e**a for a <= 0 to about 2 ulp, and 0 below -70: arithmetic on denormal numbers is many times slower."""

    def emit(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        def number(value: float) -> Any:
            return _constant(a.width, value)

        def times(x: Any, y: Any) -> Any:
            return builder.fmul(x, y, flags=FREE)

        def plus(x: Any, y: Any) -> Any:
            return builder.fadd(x, y, flags=FREE)

        x = _larger(builder, arguments[0], number(-70.0))
        n = _nearest(builder, times(x, number(1.4426950)))
        # x - n ln 2, ln 2 in two parts, the first exact in few bits
        rest = plus(plus(x, times(n, number(-0.693359375))), times(n, number(2.12194440e-4)))
        series = number(1 / 5040)
        for divisor in (720, 120, 24, 6, 2, 1, 1):
            series = plus(times(series, rest), number(1 / divisor))
        whole = _vector(a.width, ir.IntType(32))
        exponent = builder.add(builder.fptosi(n, whole), ir.Constant(whole, [127] * a.width))
        power = builder.bitcast(builder.shl(exponent, ir.Constant(whole, [23] * a.width)), _vector(a.width))
        return builder.select(builder.fcmp_ordered(">", x, number(-70.0)), times(series, power), number(0.0))

    return a(a), emit
