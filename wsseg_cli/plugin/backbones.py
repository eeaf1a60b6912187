"""Backbones by the name that a recipe gives: the entry, with its options checked. No torch but what the entry wants."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any

from pydantic import ValidationError

from ..errors import RecipeError, near
from ..types import Normalization
from . import discovery
from .backbone_entry import BackboneEntry


def backbone_entry(name: str, options: Mapping[str, Any] | None = None) -> BackboneEntry:
    """Return the entry of the backbone called `name`, "resnet50" or "timm/resnet50", with `options` checked.

    Raises:
        RecipeError: no backbone of that name, or an option or its value is unknown.
        PluginError: its package does not load.
    """
    cls, model = _entry_class(name)
    try:
        checked = cls.Options.model_validate(dict(options or {}))
    except ValidationError as error:
        raise RecipeError(_problem(name, cls, error)) from None
    return cls(checked, model)


def normalization(name: str, **options: Any) -> Normalization:
    """Return how the backbone called `name`, built with `options`, wants its pixels; builds nothing.

    Raises:
        RecipeError: no backbone of that name, or an option or its value is unknown.
    """
    return backbone_entry(name, options).normalization


@cache  # every image asks for its normalization, and each look at the installed packages reads their metadata
def _entry_class(name: str) -> tuple[type[BackboneEntry], str]:
    head, _, model = name.partition("/")
    names = sorted({found.name for found in discovery.find("backbones")})
    if head not in names:
        raise RecipeError(f"unknown backbone {name!r}; there are {', '.join(names)}{near(name, names)}")
    cls = discovery.load("backbones", head)
    assert issubclass(cls, BackboneEntry)
    if bool(model) != cls.family:
        hint = f"write {head}/MODEL, such as {head}/resnet18" if cls.family else f"write {head}"
        raise RecipeError(f"unknown backbone {name!r}; {hint} (`wsseg backbones` lists all)")
    return cls, model


def _problem(name: str, cls: type[BackboneEntry], error: ValidationError) -> str:
    first = error.errors()[0]
    option = ".".join(map(str, first["loc"][:1]))
    if first["type"] == "extra_forbidden":
        known = sorted(cls.Options.model_fields)
        close = difflib.get_close_matches(option, known, 1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        return f"backbone {name!r}: unknown option {option!r}; there are {', '.join(known)}{hint}"
    said = first["msg"].removeprefix("Value error, ")
    said = f"{said[:1].lower()}{said[1:]}".replace("input should be", "expected")
    return f"backbone {name!r}: {option} is {first['input']!r}, {said}"
