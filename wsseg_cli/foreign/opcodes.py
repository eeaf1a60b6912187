"""A reader of pickle streams that executes nothing: it follows the opcodes and builds values with our own constructors.

`interpret` knows dicts, lists, tuples, strings, bytes and numbers; anything else that a stream names has to be in the
table of constructors that is passed in. `npy` decides which those are.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

Constructor = Callable[..., Any]
"""Builds a value from the arguments in a stream; called in place of what the stream names."""

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
"""Most opcodes in a stream; the labels of all COCO images, one vector each, take three million."""
_DEEPEST = 200_000
"""Most values that may wait for their container; `pickle` passes them on by the thousand."""


class Refused(ValueError):
    """A stream that is broken or names something that is not data."""


class Budget:
    """Bytes that one file may still expand to: shared parts can be used often, so a file's size is not a bound."""

    def __init__(self, limit: int) -> None:
        self.limit = self.left = limit

    def spend(self, count: int) -> None:
        """Take `count` bytes.

        Raises:
            Refused: the limit is exceeded.
        """
        self.left -= count
        if self.left < 0:
            raise Refused(f"unfolds into more than {self.limit:,} bytes")


@dataclass(frozen=True)
class Named:
    """What a stream names: `build` makes a value from its arguments; None if it only serves as an argument."""

    name: str
    build: Constructor | None = None


def interpret(
    stream: BinaryIO,
    names: Mapping[str, Named],
    states: Mapping[type, Callable[[Any, Any], None]],
    persistent: Constructor | None = None,
) -> Any:
    """Return the value of one pickle stream, leaving `stream` positioned after it.

    names: from "module.name" to its replacement; any other name is refused. states: how values of a type take their
    state. persistent: makes a value from a persistent id, if the stream may have such.

    Raises:
        Refused: the stream is broken, names something not allowed, or uses an opcode that plain data does not need.
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
        raise Refused(f"is not a complete pickle ({type(error).__name__}: {str(error)[:80]})") from error
    raise Refused("ends before its end mark")


def count_of(shape: Any) -> int:
    """Return the number of elements of a shape in a stream.

    Raises:
        Refused: it is not a shape.
    """
    if type(shape) is not tuple or not all(type(side) is int and 0 <= side < 1 << 40 for side in shape):
        raise Refused("holds an array with a broken shape")
    if len(shape) > 32:
        raise Refused("holds an array of more than 32 axes")
    if math.prod(max(side, 1) for side in shape) >= 1 << 60:  # numpy refuses it, even without elements
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
        push = self.stack.append
        self.actions: dict[str, Callable[[], Any]] = {
            "PROTO": lambda: None,
            "FRAME": lambda: None,
            "MARK": lambda: push(_MARK),
            "EMPTY_DICT": lambda: push({}),
            "EMPTY_LIST": lambda: push([]),
            "EMPTY_TUPLE": lambda: push(()),
            "DICT": self._dict,
            "LIST": lambda: push(self._to_mark()),
            "TUPLE": lambda: push(tuple(self._to_mark())),
            "APPEND": self._append,
            "APPENDS": self._extend,
            "SETITEM": self._set_item,
            "SETITEMS": self._set_items,
            "REDUCE": self._reduce,
            "BUILD": self._build,
            "BINPERSID": self._persistent,
        }
        """The actions of opcodes without an argument."""

    def step(self, code: str, argument: Any) -> None:
        """Follow one opcode."""
        if code in _PLAIN:
            self._plain(argument)
        elif code in _CONSTANTS:
            self.stack.append(_CONSTANTS[code])
        elif code in _TUPLES:
            self._tuple(_TUPLES[code])
        elif code in ("GLOBAL", "STACK_GLOBAL"):
            self._name(argument)
        elif code in ("MEMOIZE", "PUT", "BINPUT", "LONG_BINPUT"):
            self.memo[len(self.memo) if argument is None else argument] = self.stack[-1]
        elif code in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self.memo[argument])
        elif code in self.actions:
            self.actions[code]()
        else:
            raise Refused(f"uses the opcode {code}, which plain data does not need")

    def _plain(self, value: Any) -> None:
        if isinstance(value, int) and not -_WIDEST <= value < _WIDEST:
            raise Refused("holds an integer of more than 128 bits")
        self.stack.append(value)

    def _tuple(self, count: int) -> None:
        if len(self.stack) < count:
            raise Refused("is not a complete pickle (empty stack)")
        self.stack[-count:] = [tuple(self.stack[-count:])]

    def _dict(self) -> None:
        target: dict[Any, Any] = {}
        self._set(target, self._to_mark())
        self.stack.append(target)

    def _append(self) -> None:
        item = self.stack.pop()
        self._list().append(item)

    def _extend(self) -> None:
        items = self._to_mark()
        self._list().extend(items)

    def _set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(self.stack[-1], [key, value])

    def _set_items(self) -> None:
        items = self._to_mark()
        self._set(self.stack[-1], items)

    def _persistent(self) -> None:
        if self.persistent is None:
            raise Refused("uses the opcode BINPERSID, which plain data does not need")
        self.stack.append(self.persistent(self.stack.pop()))

    def _to_mark(self) -> list[Any]:
        items = []
        while (item := self.stack.pop()) is not _MARK:
            items.append(item)
        return items[::-1]

    def _list(self) -> list[Any]:
        if type(self.stack[-1]) is not list:
            raise Refused("appends to something that is not a list")
        return self.stack[-1]

    @staticmethod
    def _set(target: Any, items: list[Any]) -> None:
        if type(target) is not dict or len(items) % 2:
            raise Refused("sets items of something that is not a dict")
        for key, value in zip(items[::2], items[1::2], strict=True):
            # hashing a key that is a tuple of tuples of … would never end
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
            raise Refused("calls something that is not a known constructor; nothing was executed")
        self.stack.append(named.build(*arguments))

    def _build(self) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        fill = self.states.get(type(target))
        if fill is None:
            raise Refused(f"gives a state to a value of type {type(target).__name__}")
        fill(target, state)
