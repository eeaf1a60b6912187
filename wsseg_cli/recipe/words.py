"""Types of recipe keys in the words of people who write YAML."""

from __future__ import annotations

import types
import typing
from typing import Any

from pydantic import BaseModel

_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false", type(None): "null", Any: "anything"}


def words_of(annotation: Any, quote: str = "") -> str:
    """Return a type in words, such as "whole number or null"; `quote` goes around literal choices."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return words_of(inner[0], quote)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(words_of(one, quote) for one in inner)
    if origin is typing.Literal:
        return ", ".join(f"{quote}{choice}{quote}" for choice in inner)
    if origin is tuple and len(inner) == 2 and inner[1] is Ellipsis:
        return f"list of {words_of(inner[0], quote)}"
    if origin is tuple:
        return "[" + ", ".join(words_of(one, quote) for one in inner) + "]"
    if origin is list:
        return f"list of {words_of(inner[0], quote)}"
    if origin is dict:
        return "mapping"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    return _PLAIN.get(annotation, "path" if getattr(annotation, "__name__", "") == "Path" else str(annotation))
