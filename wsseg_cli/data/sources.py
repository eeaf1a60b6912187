"""The files that an index was made from, with size, time and hash; and what has changed since.

As in DVC, a file with the recorded size and time is not read; one with the same size but another time is read, and
counts as changed only if its content has changed. Tables are small and always read.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, Field, with_config
from typing_extensions import TypedDict

from ..disk.reading import open_regular
from ..disk.records import OPEN, read_record
from ..disk.writing import write_text
from ..plugin.sources import Sources
from .index import REMEDY, WORK
from .label_table import PHOTO_SUFFIXES
from .source_places import holds, key, path_at, roots_now, shown
from .threads import in_threads

FILE = "sources.json"
"""The record next to an index."""

SMALL = 4 << 20
"""Tables up to this many bytes are read at every check; larger ones are treated like photos."""

SHOWN = 3
"""Number of files named in a line about a change."""

_ABSENT = -1
_BLOCK = 1 << 20


_Path = Annotated[str, Field(pattern=r"^[^\x00]*$")]


@with_config(OPEN)
class _Rows(TypedDict):
    """The files of one folder, column by column; a size of -1 means that the file did not exist."""

    folder: _Path
    names: list[_Path]
    sizes: list[int]
    times: list[int]
    hashes: list[str]


def _even(rows: _Rows) -> _Rows:
    lengths = [len(rows["names"]), len(rows["sizes"]), len(rows["times"]), len(rows["hashes"])]
    if len(set(lengths)) > 1:
        raise ValueError(f"columns of {', '.join(map(str, lengths))} rows")
    return rows


@with_config(OPEN)
class _Record(TypedDict):
    """sources.json. Folders are relative to a root, `NAME:sub/folder`; listed: other pictures by folder."""

    roots: dict[str, _Path]
    tables: list[Annotated[_Rows, AfterValidator(_even)]]
    files: list[Annotated[_Rows, AfterValidator(_even)]]
    listed: dict[_Path, list[_Path]]


@dataclass
class Changes:
    """What has changed since it was read, as paths below the data set's roots; falsy if nothing has."""

    roots: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    new: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.changed or self.gone or self.new)

    def lines(self) -> list[str]:
        """Return what changed, with count and first names, one line per kind of change."""
        kinds = (
            ("has changed", "have changed", self.changed),
            ("is gone", "are gone", self.gone),
            ("is new", "are new", self.new),
        )
        return [*self.roots, *(_counted(*kind) for kind in kinds if kind[-1])]


def _counted(one: str, several: str, names: list[str]) -> str:
    rest = f", … ({len(names) - SHOWN} more)" if len(names) > SHOWN else ""
    said = f"1 file {one}" if len(names) == 1 else f"{len(names)} files {several}"
    return f"{said}: {', '.join(names[:SHOWN])}{rest}"


def content(path: str | Path) -> str:
    """Return a hash of a file's content, "" if it cannot be read."""
    total = hashlib.blake2b(digest_size=8)
    try:
        with open_regular(path) as file:
            while block := file.read(_BLOCK):
                total.update(block)
    except OSError:
        return ""
    return total.hexdigest()


def hashes_of(paths: Iterable[Path]) -> dict[Path, str]:
    """Return the hash of each file's content."""
    each = list(dict.fromkeys(paths))
    return dict(zip(each, in_threads(content, each), strict=True))


def write_sources(
    folder: Path, sources: Sources, pictures: Collection[Path], roots: Mapping[str, Path], known: Mapping[Path, str]
) -> None:
    """Write the record of an index into its `folder`; files in the root `work` are the run's own and left out.

    pictures: the files that samples name, whether they exist or not. roots: folders and files that options name, by
    option. known: hashes of pictures; if one has no hash, any change of its time will count.
    """
    own = str(roots[WORK].absolute()) if WORK in roots else ""
    places = {name: os.path.abspath(path) for name, path in roots.items() if name != WORK}
    hashes = {os.path.abspath(path): value for path, value in known.items()}
    tables = sorted(set(map(os.path.abspath, sources.tables)))
    files = sorted({os.path.abspath(path) for path in (*pictures, *sources.files)} - set(tables))
    inside = f"{own}{os.sep}"
    files = [path for path in files if not (own and path.startswith(inside))]
    hashes |= {path: content(path) for path in tables}
    watched = {*tables, *files}
    listed = {}
    for place in dict.fromkeys(map(os.path.abspath, sources.listed)):
        if not (own and f"{place}{os.sep}".startswith(inside)):
            listed[key(place, places)] = sorted(
                os.path.relpath(path, place) for path in pictures_below(place) if path not in watched
            )
    record: _Record = {
        "roots": places,
        "tables": list(_rows(tables, places, hashes)),
        "files": list(_rows(files, places, hashes)),
        "listed": listed,
    }
    write_text(folder / FILE, json.dumps(record, ensure_ascii=False) + "\n")


def _rows(paths: Iterable[str], roots: Mapping[str, str], hashes: Mapping[str, str]) -> Iterator[_Rows]:
    by_folder: dict[str, list[str]] = {}
    for path in paths:
        folder, name = os.path.split(path)
        by_folder.setdefault(folder, []).append(name)
    for folder, names in by_folder.items():
        states = [_state(f"{folder}/{name}") for name in names]
        yield {
            "folder": key(folder, roots),
            "names": names,
            "sizes": [size for size, _ in states],
            "times": [time for _, time in states],
            "hashes": [hashes.get(f"{folder}/{name}", "") for name in names],
        }


def _state(path: str) -> tuple[int, int]:
    """Return size and time of a file; (-1, 0) if it does not exist."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return _ABSENT, 0
    return found.st_size, found.st_mtime_ns


def pictures_below(folder: str) -> Iterator[str]:
    """Yield the pictures below a folder, except hidden ones and those in a run, which a stage may have written."""
    for place, folders, names in os.walk(folder):
        if "recipe.yaml" in names and "prepare" in folders:
            folders.clear()
            continue
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            if name[:1] != "." and name.lower().endswith(PHOTO_SUFFIXES):
                yield f"{place}/{name}"


def changes(folder: Path, options: Mapping[str, Any], *, refresh: bool = False) -> Changes | None:
    """Return what has changed since the index in `folder` was made; None if there is no record of its sources.

    options: the data set's, variables filled in. The paths that they name now are checked, so data may move, and if a
    variable names another folder, everything is compared with the files there. Missing options keep their recorded
    paths. refresh: record new times and places of unchanged content, so that the next check is quick.

    Raises:
        DataError: the record is damaged.
    """
    record = read_record(folder / FILE, _Record, REMEDY)
    if record is None:
        return None
    roots = roots_now(record["roots"], options)
    found = Changes()
    again: list[tuple[_Rows, int, str, int]] = []
    watched: set[str] = set()
    for kind in ("tables", "files"):
        for rows in record[kind]:  # type: ignore[literal-required]
            again += _look(rows, roots, found, watched, SMALL if kind == "tables" else _ABSENT)
    fresh = _reread(again, roots, found)
    for place, others in record["listed"].items():
        base = path_at(place, roots)
        there = watched | {f"{base}/{name}" for name in others}
        found.new += sorted(shown(path, roots) for path in pictures_below(base) if path not in there)
    moved = {name for name in roots if roots[name] != record["roots"][name]}
    if found:
        inside = {name for name in moved for other in moved - {name} if holds(roots[other], roots[name])}
        found.roots = [f"{name}: {record['roots'][name]} → {roots[name]}" for name in sorted(moved - inside)]
    elif refresh and (fresh or moved):
        _rewrite(folder, record | {"roots": roots}, {name: roots[name] for name in moved})
    return found


def _look(
    rows: _Rows, roots: Mapping[str, str], found: Changes, watched: set[str], read: int
) -> list[tuple[_Rows, int, str, int]]:
    """Check the files of one folder; return those to be read again: (rows, number, path, time).

    read: size in bytes up to which a file is read in any case.
    """
    base = path_at(rows["folder"], roots)
    again = []
    columns = zip(rows["names"], rows["sizes"], rows["times"], strict=True)
    for number, (name, size, time) in enumerate(columns):
        path = f"{base}/{name}"
        watched.add(path)
        size_now, time_now = _state(path)
        if size_now != size:
            kind = found.gone if size_now == _ABSENT else found.new if size == _ABSENT else found.changed
            kind.append(shown(path, roots))
        elif size != _ABSENT and (time_now != time or size <= read):
            again.append((rows, number, path, time_now))
    return again


def _reread(again: list[tuple[_Rows, int, str, int]], roots: Mapping[str, str], found: Changes) -> bool:
    """Compare the content of files and record the new times of unchanged ones; return whether there are any."""
    fresh = False
    contents = in_threads(content, [path for _, _, path, _ in again])
    for (rows, number, path, time), now in zip(again, contents, strict=True):
        if now != rows["hashes"][number] or not now:
            found.changed.append(shown(path, roots))
        elif rows["times"][number] != time:
            rows["times"][number], fresh = time, True
    return fresh


def _rewrite(folder: Path, record: Mapping[str, Any], moved: Mapping[str, str]) -> None:
    write_text(folder / FILE, json.dumps(record, ensure_ascii=False) + "\n")
    places = read_record(folder / "roots.json", dict[str, str], REMEDY)
    if places is not None and moved.keys() & places.keys():
        new = {name: moved.get(name, place) for name, place in places.items()}
        write_text(folder / "roots.json", json.dumps(new, indent=1) + "\n")


def digest(hashes: Iterable[str]) -> str:
    """Return one hash of the hashes of several files, in their order."""
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()[:32]
