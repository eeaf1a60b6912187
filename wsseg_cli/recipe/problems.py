"""What is wrong with a recipe, with line, address, value and a hint: pydantic's errors in our words."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from ..errors import near
from .renamed import new_name
from .yaml_core import Address, spell

_TYPES = {
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "string_type": "must be a text",
    "path_type": "must be a path",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "dict_type": "must be a mapping",
    "model_type": "must be a mapping",
    "model_attributes_type": "must be a mapping",
    "missing": "is missing",
}
_BOUNDS = {
    "greater_than": ("must be greater than {}", "gt"),
    "greater_than_equal": ("must be at least {}", "ge"),
    "less_than": ("must be less than {}", "lt"),
    "less_than_equal": ("must be at most {}", "le"),
}


_M = TypeVar("_M", bound=BaseModel)


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong at one address."""

    address: Address
    message: str


def validated_json(model: type[_M], data: Any) -> _M:
    """Return `data` of a recipe as a model.

    Raises:
        ValidationError: it is not valid; `problems_of` puts the error into words.
    """
    # JSON mode: lists may stand for tuples and texts for paths, while a text for a number is still refused
    return model.model_validate_json(json.dumps(data))


def problems_of(error: ValidationError, model: type[BaseModel], at: Address = ()) -> list[Problem]:
    """Return pydantic's errors about `model`, which is at address `at` of the recipe, in our words."""
    found: dict[Address, Problem] = {}
    for item in error.errors(include_url=False):
        address = (*at, *_without_union_marks(model, item["loc"]))
        found.setdefault(address, Problem(address, _message(item, model, options="options" in at)))
    return list(found.values())


def _message(item: Any, model: type[BaseModel], options: bool) -> str:
    kind, context, got = item["type"], item.get("ctx", {}), item.get("input")
    value = "" if isinstance(got, Mapping) and kind != "dict_type" else f" (got {show(got)})"
    if kind == "extra_forbidden":
        home = _model_at(model, item["loc"][:-1])
        known = list(home.model_fields) if home else []
        if name := new_name(str(item["loc"][-1]), known):
            return f"`{item['loc'][-1]}` is now `{name}`"
        return f"unknown {'option' if options else 'key'}{value}{near(str(item['loc'][-1]), known)}"
    if kind == "missing":
        return _TYPES[kind]
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
        hint = near(got, choices) if isinstance(got, str) else ""
        return f"must be {context.get('expected')}{value}{hint}"
    if kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        return words.format(show(context[key])) + value
    if kind == "value_error":
        return str(context["error"])
    if kind in ("too_short", "too_long"):
        least, most = context.get("min_length"), context.get("max_length")
        wanted = f"at least {least}" if kind == "too_short" else f"at most {most}"
        return f"must have {wanted} item{'' if (least or most) == 1 else 's'}{value}"
    text = _TYPES.get(kind) or item["msg"][:1].lower() + item["msg"][1:]
    quoted = isinstance(got, str) and kind.startswith(("int", "float", "bool"))
    return f"{text}, not a text{value}" if quoted else f"{text}{value}"


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model inside Optional, Annotated and the like."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (typing.Union, types.UnionType, typing.Annotated):
        for inner in typing.get_args(annotation):
            if (model := model_in(inner)) is not None:
                return model
    return None


def _model_at(model: type[BaseModel], address: Sequence[str | int]) -> type[BaseModel] | None:
    here: type[BaseModel] | None = model
    for part in address:
        if here is not None and part in here.model_fields:
            here = model_in(here.model_fields[str(part)].annotation)
    return here


def _without_union_marks(model: type[BaseModel], address: Sequence[str | int]) -> Address:
    """Leave out the names of union members that pydantic puts between the keys."""
    kept: list[str | int] = []
    here: type[BaseModel] | None = model
    for part in address:
        if here is not None and part not in here.model_fields and part == here.__name__:
            continue
        if isinstance(part, str) and re.match(r"(tuple|list|dict|function-\w+|nullable|literal)\[", part):
            continue
        kept.append(part)
        here = model_in(here.model_fields[str(part)].annotation) if here and part in here.model_fields else None
    return tuple(kept)


def show(value: Any, most: int = 60) -> str:
    """Return a value as a recipe would write it, cut to `most` characters."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = f"'{text}'" if isinstance(value, str) else text
    return text if len(text) <= most else text[: most - 1] + "…"


def line_of(address: Address, lines: Mapping[Address, int | str]) -> int | str:
    """Return the line of an address, or of the closest section around it."""
    for end in range(len(address), -1, -1):
        if address[:end] in lines:
            return lines[address[:end]]
    return 1


def render(problems: Iterable[Problem], lines: Mapping[Address, int | str]) -> list[str]:
    """Return one text per problem, `line 23  train_cls.optim.lr: must be greater than 0 (got 0)`, in order of lines."""
    rows: list[tuple[int, str, str]] = []
    for problem in problems:
        line = line_of(problem.address, lines)
        place = line if isinstance(line, str) else f"line {line}"
        order = -1 if isinstance(line, str) else line
        rows.append((order, place, f"{spell(problem.address) or 'recipe'}: {problem.message}"))
    width = max((len(place) for _, place, _ in rows), default=0)
    return [f"{place:<{width}}  {text}" for _, place, text in sorted(rows, key=lambda row: row[0])]
