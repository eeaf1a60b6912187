"""Class names in third-party data: renamed, left out, and separated in cells."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import Field


def rename_option() -> Any:
    """Return the field of the option `rename`."""
    return Field({}, description="class names in the data: names to use instead; null: left out")


def separator_option() -> Any:
    """Return the field of the option `separator`."""
    return Field(
        None, min_length=1, description="what separates class names in a cell; by default any of ; | and the comma"
    )


def renamed(names: Iterable[str], rename: Mapping[str, str | None]) -> list[str]:
    """Return the names to use instead of `names`, in their order, without those that `rename` maps to null."""
    used = (rename.get(name, name) for name in names)
    return [name for name in used if name is not None]
