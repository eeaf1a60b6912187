"""Locations of the files in a record, relative to the paths in a data set's options, so that data may move."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def key(path: str, roots: Mapping[str, str]) -> str:
    """Return a path relative to the innermost root that contains it, as `NAME:rest`; `:path` if none does."""
    best = max((name for name in roots if holds(roots[name], path)), key=lambda name: len(roots[name]), default=None)
    return f":{path}" if best is None else f"{best}:{os.path.relpath(path, roots[best])}"


def holds(root: str, path: str) -> bool:
    """Return whether an absolute path is a root or below it."""
    return path == root or path.startswith(root.rstrip(os.sep) + os.sep)


def path_at(key: str, roots: Mapping[str, str]) -> str:
    """Return the absolute path of a `key`."""
    name, _, rest = key.partition(":")
    return os.path.normpath(os.path.join(roots.get(name, ""), rest)) if name else rest


def shown(path: str, roots: Mapping[str, str]) -> str:
    """Return a path as users know it: relative to the outermost root, or unchanged."""
    holding = [root for root in roots.values() if root != path and holds(root, path)]
    return os.path.relpath(path, min(holding, key=len)) if holding else path


def roots_now(recorded: Mapping[str, str], options: Mapping[str, Any]) -> dict[str, str]:
    """Return the current places of the recorded roots by the data set's options; roots without an option move along.

    A relative path that does not exist from here keeps its recorded meaning: commands may be called from anywhere.
    """
    before = recorded.get("root", "")
    root = _named("root", options, before) or before

    def now(name: str) -> str:
        if name == "root":
            return root
        given = _named(name, options, root)
        if given is None and before and holds(before, recorded[name]):
            return os.path.normpath(os.path.join(root, os.path.relpath(recorded[name], before)))
        return given or recorded[name]

    return {name: now(name) for name in recorded}


def _named(name: str, options: Mapping[str, Any], root: str) -> str | None:
    """Return the absolute path that an option, `masks` or `lists.train`, names; None if there is none that exists."""
    value: Any = options
    for part in name.split("."):
        if isinstance(value, Mapping):
            value = value.get(part)
        elif isinstance(value, list | tuple) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            return None
    if not isinstance(value, str | Path) or not str(value):
        return None
    place = os.path.expanduser(value)
    if os.path.isabs(place):
        return os.path.normpath(place)  # given explicitly, so it need not exist
    candidates = [os.path.abspath(place), os.path.normpath(os.path.join(root, place))]
    return next((path for path in candidates if os.path.exists(path)), None)
