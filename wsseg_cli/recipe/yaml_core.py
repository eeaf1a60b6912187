"""YAML by the 1.2 core rules: `1e-3` is a number; `no`, `on` and `20_000` are strings. Nothing is executed."""

from __future__ import annotations

import contextlib
import re
from dataclasses import dataclass, field
from typing import Any

import yaml
from yaml.composer import Composer

from ..errors import RecipeError

Address = tuple[str | int, ...]
"""The place of a value: keys and list positions from the root down."""

LARGEST = 256 << 10
"""Bytes of the largest recipe; a thorough one has ten thousand, and a megabyte takes the parser half a minute."""

MOST_VALUES = 20_000
"""A recipe has a few hundred values; more means that aliases multiply."""

_RULES: tuple[tuple[str, str, str], ...] = (
    ("tag:yaml.org,2002:null", r"~|null|Null|NULL|", "~nN\0"),
    ("tag:yaml.org,2002:bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
    ("tag:yaml.org,2002:int", r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+", "-+0123456789"),
    (
        "tag:yaml.org,2002:float",
        r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        "-+.0123456789",
    ),
)


@dataclass(frozen=True)
class Document:
    """The values of one YAML text and the line (from 1) of each."""

    data: Any
    lines: dict[Address, int | str] = field(default_factory=dict)


class _Core:
    """Composes nodes by the core rules; constructors are never used."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}

    def compose_node(self: Any, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if getattr(event, "tag", None) is not None:
            raise yaml.MarkedYAMLError(problem=f"the tag {event.tag!r} is not allowed", problem_mark=event.start_mark)
        return Composer.compose_node(self, parent, index)


class _Loader(_Core, yaml.SafeLoader):
    """The loader in pure Python: slower, but its messages name the place."""


_LOADERS: tuple[Any, ...] = (_Loader,)

if yaml.__with_libyaml__:

    class _FastLoader(_Core, Composer, yaml.CSafeLoader):
        """The events of libyaml, composed in Python, where too deep a nesting is an error."""

        def __init__(self, stream: str) -> None:
            yaml.CSafeLoader.__init__(self, stream)
            Composer.__init__(self)

    _LOADERS = (_FastLoader, _Loader)


class _Dumper(yaml.SafeDumper):
    """Quotes strings wherever YAML 1.1 or 1.2 would read something else."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _add_rules() -> None:
    for tag, pattern, first in _RULES:
        for cls in (*_LOADERS, _Dumper):
            cls.add_implicit_resolver(tag, re.compile(f"^(?:{pattern})$"), ["" if c == "\0" else c for c in first])


_add_rules()


def parse(text: str, source: str) -> Document:
    """Return the values and lines of a YAML text; `source` is its name in messages.

    Raises:
        RecipeError: it is not YAML or holds a tag, a key twice, an alias inside itself, or endless aliases.
    """
    try:
        root = _compose(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        what = ", ".join(part for part in (error.context, error.problem) if part)
        raise RecipeError(f"{source}{where}: {what}") from error
    except yaml.YAMLError as error:
        raise RecipeError(f"{source} cannot be read as YAML: {error}") from error
    except RecursionError as error:
        raise RecipeError(f"{source} is nested too deeply") from error
    reader = _Reader(source)
    data = reader.value(root, (), ()) if root is not None else None
    if reader.twice:
        raise RecipeError("\n".join([f"{source} has keys that occur twice", *reader.twice]))
    return Document(data, reader.lines)


def _compose(text: str) -> Any:
    """Return the root node; what the fast loader refuses is read again by the other for its message."""
    *fast, last = _LOADERS
    for loader in fast:
        with contextlib.suppress(yaml.YAMLError):
            return yaml.compose(text, Loader=loader)
    return yaml.compose(text, Loader=last)


def parse_value(text: str, source: str) -> Any:
    """Return one value written on the command line, by the same rules."""
    return parse(text, source).data


def dump(data: Any) -> str:
    """Return YAML that `parse` and every other reader read as the same values; short lists stay on one line."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=120)


class _Reader:
    """Turns composed nodes into plain values and remembers lines."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.lines: dict[Address, int | str] = {}
        self.twice: list[str] = []
        self.count = 0

    def value(self, node: yaml.Node, address: Address, parents: tuple[int, ...]) -> Any:
        self.count += 1
        if self.count > MOST_VALUES:
            raise RecipeError(f"{self.source} has more than {MOST_VALUES} values; do its aliases multiply?")
        if id(node) in parents:
            raise RecipeError(f"{self.source} line {node.start_mark.line + 1}: an alias refers to the anchor around it")
        self.lines.setdefault(address, node.start_mark.line + 1)
        inside = (*parents, id(node))
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*address, i), inside) for i, item in enumerate(node.value)]
        return self._mapping(node, address, inside)

    def _mapping(self, node: yaml.Node, address: Address, inside: tuple[int, ...]) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise RecipeError(f"{self.source} line {line}: a key must be one word")
            key = key_node.value
            here = (*address, key)
            if key in result:
                self.twice.append(f"  line {line}  {spell(here)}: stands on line {self.lines[here]} already")
                continue
            self.lines[here] = line
            result[key] = self.value(value_node, here, inside)
        return result

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.rsplit(":", 1)[-1]
        text = node.value
        try:
            if kind == "null":
                return None
            if kind == "bool":
                return text.lower() == "true"
            if kind == "int":
                bare = text.lstrip("+-")
                return int(text, {"0o": 8, "0x": 16}.get(bare[:2], 10))
            if kind == "float":
                return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
        except ValueError as error:
            raise RecipeError(f"{self.source} line {node.start_mark.line + 1}: {error}") from error
        return text


def spell(address: Address) -> str:
    """Return an address as it is written in messages: `cam.infer.scales[0]`."""
    text = ""
    for part in address:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text
