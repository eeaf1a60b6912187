"""A reader of pickle streams that executes nothing: it follows the opcodes and builds values with our own constructors.

`interpret` knows dicts, lists, tuples, strings, bytes and numbers; whatever else a stream names has to stand in the
table of constructors it is given. Which those are is the business of `npy`.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

Constructor = Callable[..., Any]
"""Builds a value from the arguments that a stream gives; called in place of what the stream names."""

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_PLAIN = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}
    | {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
    | {"BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"}
)
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()
_WIDEST = 1 << 127
MOST_OPERATIONS = 5_000_000
"""Opcodes of the longest stream; the labels of all of COCO's images, a vector each, take three million."""
_DEEPEST = 200_000
"""Values that may wait for their container; `pickle` hands them on by the thousand."""


class Refused(ValueError):
    """A stream that is broken or names something that is not data."""


class Budget:
    """Bytes that one file may still unfold into: shared parts may be named often, so the size of a file is no bound."""

    def __init__(self, limit: int) -> None:
        self.limit = self.left = limit

    def spend(self, count: int) -> None:
        """Take `count` bytes.

        Raises:
            Refused: more than the limit is wanted.
        """
        self.left -= count
        if self.left < 0:
            raise Refused(f"unfolds into more than {self.limit:,} bytes")


@dataclass(frozen=True)
class Named:
    """What a stream names: `build` makes a value of its arguments, None where it only stands as an argument."""

    name: str
    build: Constructor | None = None


def interpret(
    stream: BinaryIO,
    names: Mapping[str, Named],
    states: Mapping[type, Callable[[Any, Any], None]],
    persistent: Constructor | None = None,
) -> Any:
    """Return the value of one pickle stream, leaving `stream` behind its end.

    names: "module.name" to what stands for it; anything else is refused. states: how values of a type take their state.
    persistent: what makes a value of a persistent id, if the stream may have such.

    Raises:
        Refused: the stream is broken, names what is not allowed, or uses an opcode that plain data does not need.
    """
    machine = _Machine(names, states, persistent)
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if opcode.name == "STOP":
                return machine.stack.pop()
            if count > MOST_OPERATIONS:
                raise Refused(f"has more than {MOST_OPERATIONS:,} parts")
            machine.step(opcode.name, argument)
            if len(machine.stack) > _DEEPEST:
                raise Refused(f"has more than {_DEEPEST:,} parts that belong to nothing")
    except Refused:
        raise
    except (ValueError, TypeError, IndexError, KeyError, OverflowError, MemoryError, AttributeError) as error:
        raise Refused(f"is no whole pickle ({type(error).__name__}: {str(error)[:80]})") from error
    raise Refused("ends before its end mark")


def count_of(shape: Any) -> int:
    """Return the number of elements of a shape that a stream gives.

    Raises:
        Refused: it is no shape.
    """
    if type(shape) is not tuple or not all(type(side) is int and 0 <= side < 1 << 40 for side in shape):
        raise Refused("holds an array with a broken shape")
    if len(shape) > 32:
        raise Refused("holds an array of more than 32 axes")
    if math.prod(max(side, 1) for side in shape) >= 1 << 60:  # numpy refuses it, of no elements as well
        raise Refused("holds an array with a broken shape")
    return math.prod(shape)


class _Machine:
    def __init__(
        self,
        names: Mapping[str, Named],
        states: Mapping[type, Callable[[Any, Any], None]],
        persistent: Constructor | None,
    ) -> None:
        self.names, self.states, self.persistent = names, states, persistent
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}

    def step(self, code: str, argument: Any) -> None:
        stack = self.stack
        if code in _PLAIN:
            if isinstance(argument, int) and not -_WIDEST <= argument < _WIDEST:
                raise Refused("holds an integer of more than 128 bits")
            stack.append(argument)
        elif code in _CONSTANTS:
            stack.append(_CONSTANTS[code])
        elif code == "MARK":
            stack.append(_MARK)
        elif code in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[len(self.memo) if argument is None else argument] = stack[-1]
        elif code in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self.memo[argument])
        elif code in _TUPLES:
            count = _TUPLES[code]
            if len(stack) < count:
                raise Refused("is no whole pickle (empty stack)")
            stack[-count:] = [tuple(stack[-count:])]
        elif code in ("PROTO", "FRAME"):
            pass
        elif code in ("GLOBAL", "STACK_GLOBAL"):
            self._name(argument)
        elif code == "REDUCE":
            self._reduce()
        elif code == "BUILD":
            self._build()
        elif code == "BINPERSID" and self.persistent is not None:
            stack.append(self.persistent(stack.pop()))
        else:
            self._container(code)

    def _container(self, code: str) -> None:
        stack = self.stack
        if code == "EMPTY_DICT":
            stack.append({})
        elif code == "EMPTY_LIST":
            stack.append([])
        elif code == "EMPTY_TUPLE":
            stack.append(())
        elif code == "TUPLE":
            stack.append(tuple(self._to_mark()))
        elif code == "LIST":
            stack.append(self._to_mark())
        elif code == "DICT":
            items, target = self._to_mark(), dict[Any, Any]()
            self._set(target, items)
            stack.append(target)
        elif code == "APPEND":
            item = stack.pop()
            self._list().append(item)
        elif code == "APPENDS":
            items = self._to_mark()
            self._list().extend(items)
        elif code == "SETITEM":
            value, key = stack.pop(), stack.pop()
            self._set(stack[-1], [key, value])
        elif code == "SETITEMS":
            items = self._to_mark()
            self._set(stack[-1], items)
        else:
            raise Refused(f"uses the opcode {code}, which plain data does not need")

    def _to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _list(self) -> list[Any]:
        if type(self.stack[-1]) is not list:
            raise Refused("appends to what is no list")
        return self.stack[-1]

    @staticmethod
    def _set(target: Any, items: list[Any]) -> None:
        if type(target) is not dict or len(items) % 2:
            raise Refused("sets items of what is no dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # a tuple of tuples of … as a key would hash for ever
            if not isinstance(key, (str, int, float, bytes)):
                raise Refused(f"holds a dict key of type {type(key).__name__}")
            target[key] = value

    def _name(self, argument: str | None) -> None:
        if argument is None:
            name, module = self.stack.pop(), self.stack.pop()
        else:
            module, _, name = argument.partition(" ")
        full = f"{module}.{name}"
        if full not in self.names:
            raise Refused(f"names {full[:80]!r}, which is not data; nothing was executed")
        self.stack.append(self.names[full])

    def _reduce(self) -> None:
        arguments, named = self.stack.pop(), self.stack.pop()
        if not isinstance(named, Named) or named.build is None or type(arguments) is not tuple:
            raise Refused("calls what is no constructor; nothing was executed")
        self.stack.append(named.build(*arguments))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        fill = self.states.get(type(target))
        if fill is None:
            raise Refused(f"gives a state to a value of type {type(target).__name__}")
        fill(target, state)
