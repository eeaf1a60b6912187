"""What one table cell says about an image: separated class names, or a vector of 0 and 1."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Sequence
from typing import Any

_ALWAYS = re.compile(r"[;|；\n\t]")
_COMMA = re.compile(r"[,，、]")
_FLAGS = re.compile(r"[01](?:[\s,;|]+[01])+")
_LIST = re.compile(r"\s*[\[({](.*)[\])}]\s*", re.S)


def names_in_cell(cell: str, separator: str | None = None, classes: Container[str] = ()) -> list[str]:
    """Return the class names in a cell.

    separator: what separates them; by default ";", "|" and commas, including full-width ones. A name in `classes` stays
    whole even if it contains a comma. A vector such as "1 0 1" gives its numbers, a list as printed by Python or JSON,
    such as "['cat', 'dog']", its members.
    """
    if cell.strip() in classes:
        return [cell.strip()]
    listed = _LIST.fullmatch(cell)
    text = listed[1] if listed else cell
    if _FLAGS.fullmatch(text.strip()):
        return re.findall("[01]", text)
    if separator is not None and not listed:
        parts = text.split(separator)
    else:
        parts = [
            part
            for piece in _ALWAYS.split(text)
            for part in ([piece] if piece.strip() in classes else _COMMA.split(piece))
        ]
    names = [part.strip().strip("'\"").strip() if listed else part.strip() for part in parts]
    return [name for name in names if name]


def are_multi_hot(rows: Iterable[Sequence[Any]], count: int) -> bool:
    """Return whether all non-empty rows are vectors of 0 and 1 over `count` classes.

    With one class, rows of a single 0 could also be class numbers: they count as vectors if any row has a 1.
    """
    filled = [row for row in rows if len(row)]
    if not filled or not all(len(row) == count and all(is_flag(value) for value in row) for row in filled):
        return False
    return count > 1 or any(row[0] for row in filled)


def is_flag(value: Any) -> bool:
    """Return whether a value is 0 or 1, as an int, a bool or a float."""
    return isinstance(value, int | float) and value in (0, 1)


def twice_a_number(values: Sequence[Any]) -> bool:
    """Return whether a number occurs twice: then it is not a list of class numbers, but a vector of another length."""
    numbers = [str(value) for value in values if not isinstance(value, str) or value.isdigit()]
    return len(set(numbers)) < len(numbers)
