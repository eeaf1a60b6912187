"""What a data set is read from: the contract by which `prepare` notices later that its data changed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

TABLE_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".npy", ".xml", ".yaml", ".yml", ".parquet")
"""Files that are taken for tables if a data set does not say which it reads."""


@dataclass(frozen=True)
class Sources:
    """What a data set is read from, besides the pictures that its samples name; a path need not exist.

    Attributes:
        tables: files that say what there is: labels, lists, class names. Compared by their content.
        files: files of single images, such as one annotation each. Compared by size and time, by content where these
            differ, as pictures are.
        listed: folders whose pictures are found by listing them: a new one is noticed.
    """

    tables: tuple[Path, ...] = ()
    files: tuple[Path, ...] = ()
    listed: tuple[Path, ...] = ()


def named_places(options: BaseModel) -> dict[str, Path]:
    """Return the files and folders that the options of a data set name and that exist, absolute, by option.

    Entries of mappings and tuples have names of two parts, `lists.train` and `masks.0`. Relative paths are relative to
    the working directory or to the option `root`.
    """
    given = options.model_dump()
    root = Path(str(given.get("root") or "")).expanduser()
    found: dict[str, Path] = {}
    for name, value in given.items():
        for address, leaf in _leaves(name, value):
            place = leaf.expanduser()
            there = next((path for path in (place, root / place) if path.exists()), None)
            if there is not None:
                found[address] = there.absolute()
    return found


def _leaves(name: str, value: Any) -> Iterator[tuple[str, Path]]:
    """Yield the paths in the value of an option; a text counts only if it names an existing folder."""
    if isinstance(value, Path) or (isinstance(value, str) and value and _is_folder(value)):
        yield name, Path(value)
    elif isinstance(value, dict | list | tuple):
        inner = value.items() if isinstance(value, dict) else enumerate(value)
        for key, entry in inner:
            if isinstance(entry, Path):
                yield f"{name}.{key}", entry


def _is_folder(text: str) -> bool:
    try:
        return Path(text).expanduser().is_dir()
    except (OSError, RuntimeError, ValueError):  # a text that is not a path
        return False


def sources_named(options: BaseModel) -> Sources:
    """Return what the options name: their files and the tables in their folders as tables, the folders as listed.

    In subfolders, what looks like a table counts as a file of a single image: there may be one per image.
    """
    places = named_places(options)
    folders = [path for path in places.values() if path.is_dir()]
    tables = [path for path in places.values() if path.is_file()]
    files: list[Path] = []
    for folder in folders:
        for place, below, names in os.walk(folder):
            below[:] = [name for name in below if not name.startswith(".")]
            found = [Path(place, name) for name in names if name.lower().endswith(TABLE_SUFFIXES)]
            (tables if Path(place) == folder else files).extend(sorted(found))
    return Sources(*(tuple(dict.fromkeys(paths)) for paths in (tables, files, folders)))
