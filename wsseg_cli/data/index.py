"""The index of a run: one line per image, with splits, labels and files; `prepare` writes it, other stages read it."""

from __future__ import annotations

import gc
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import ConfigDict, Field, with_config
from typing_extensions import NotRequired, TypedDict

from ..disk.records import read_lines, read_record
from ..disk.writing import write_text
from ..errors import DataError, StageError
from ..settings import SPLIT
from ..types import ClassNames, Sample

REMEDY = "run `wsseg prepare --force`"
WORK = "work"
"""Name of the root for files that a data set stores in the run itself."""


_Side = Annotated[int, Field(ge=1, lt=1 << 20)]


@with_config(ConfigDict(extra="forbid", strict=True))
class Row(TypedDict):
    """One line of index.jsonl."""

    id: Annotated[str, Field(min_length=1)]
    image: str
    labels: list[Annotated[int, Field(ge=0)]]
    mask: str | None
    extras: dict[str, str]
    orientation: Annotated[int, Field(ge=1, le=8)]
    size: tuple[_Side, _Side]
    lists: list[Annotated[str, Field(pattern=SPLIT)]]
    labelled: NotRequired[bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """A sample, the splits that contain it, and its size (H, W) in pixels."""

    sample: Sample
    splits: tuple[str, ...]
    size: tuple[int, int]


class Index:
    """All images of a run by id, in the order of the data set."""

    entries: Mapping[str, Entry]

    def __init__(self, entries: Iterable[Entry], classes: ClassNames) -> None:
        self.entries = {entry.sample.image_id: entry for entry in entries}
        self.classes = classes

    def add(self, other: Index) -> None:
        """Add the images of another split; an image already in the index is added to that split as well."""
        entries = dict(self.entries)
        for image_id, entry in other.entries.items():
            known = entries.get(image_id)
            splits = (*known.splits, *entry.splits) if known else entry.splits
            entries[image_id] = replace(known or entry, splits=tuple(dict.fromkeys(splits)))
        self.entries = entries

    def splits(self) -> list[str]:
        """Return the names of the splits, in the order of first appearance."""
        return list(dict.fromkeys(name for entry in self.entries.values() for name in entry.splits))

    def samples(self, *splits: str) -> list[Sample]:
        """Return the samples in any of `splits`, each once.

        Raises:
            StageError: a split was not prepared.
        """
        known = self.splits()
        for name in splits:
            if name not in known:
                raise StageError(
                    f"split {name!r} is not in the index (it has: {', '.join(known) or 'none'}); "
                    f"run `wsseg prepare --split {name}` first"
                )
        return [entry.sample for entry in self.entries.values() if set(splits) & set(entry.splits)]

    def size(self, image_id: str) -> tuple[int, int]:
        """Return (H, W) of an image."""
        return self.entries[image_id].size

    def role(self, image_id: str, train: Iterable[str]) -> str:
        """Return "train" if the image is in one of the `train` splits, else "val"."""
        return "train" if set(train) & set(self.entries[image_id].splits) else "val"


def write_index(folder: Path, index: Index, roots: Mapping[str, Path]) -> str:
    """Write index.jsonl, classes.json and roots.json into `folder`; return the content hash of the first two.

    Paths under one of `roots` are stored relative to it, the root `work` relative to `folder`, so that a run may move.

    Raises:
        DataError: a file name is not UTF-8, or the files cannot be written.
    """
    lines = []
    for entry in index.entries.values():
        sample = entry.sample
        line = {
            "id": sample.image_id,
            "image": _relative(sample.image, roots),
            "labels": list(sample.labels),
            "mask": None if sample.mask is None else _relative(sample.mask, roots),
            "extras": {name: _relative(path, roots) for name, path in sample.extras.items()},
            "orientation": sample.orientation,
            "size": list(entry.size),
            "lists": list(entry.splits),
        }
        if not sample.labelled:
            line["labelled"] = False
        lines.append(json.dumps(line, ensure_ascii=False))
    text = "\n".join(lines) + "\n"
    classes = json.dumps(list(index.classes), ensure_ascii=False, indent=1) + "\n"
    kept = {name: os.path.relpath(path, folder) if name == WORK else str(path) for name, path in roots.items()}
    places = json.dumps(kept, indent=1) + "\n"
    try:
        digest = hashlib.sha256((classes + text).encode()).hexdigest()
        places.encode()
    except UnicodeEncodeError as error:
        near = str(error.object)[max(0, error.start - 60) : error.end]
        raise DataError(f"a file name that is not UTF-8, …{near!r}; rename it") from None
    for name, content in (("roots.json", places), ("classes.json", classes), ("index.jsonl", text)):
        write_text(folder / name, content)
    return digest


def _relative(path: Path, roots: Mapping[str, Path]) -> str:
    path = path.absolute()
    for name, root in roots.items():
        with suppress(ValueError):  # not under this root
            return f"{name}:{path.relative_to(root).as_posix()}"
    return f":{path.as_posix()}"


def extra_index(folder: Path, split: str) -> Path:
    """Return the folder for the index of a split that is not in the recipe."""
    return folder / "lists" / split


def extra_indexes(folder: Path) -> list[Path]:
    """Return the folders of the splits that were added to the index in `folder`, by name."""
    return sorted(path.parent for path in (folder / "lists").glob("*/index.jsonl"))


def read_index(folder: Path) -> Index:
    """Return the index in `folder`, including the splits that were added later.

    Raises:
        StageError: there is no index yet. DataError: the index is broken.
    """
    path, rows = rows_of(folder)
    with _all_kept():
        index = Index(_entries(path, rows), rows.classes)
    for added in extra_indexes(folder):
        index.add(read_index(added))
    return index


def rows_of(folder: Path) -> tuple[Path, Rows]:
    """Return the file with the lines of the index in `folder`, and what makes entries of them.

    Raises:
        StageError: there is no index yet. DataError: the classes or the roots beside it are broken.
    """
    path = folder / "index.jsonl"
    if not path.exists():
        raise StageError(f"{folder} holds no index; run `wsseg prepare` first")
    names = read_record(folder / "classes.json", list[str], REMEDY)
    places = read_record(folder / "roots.json", dict[str, str], REMEDY)
    if names is None or places is None:
        missing = "classes.json" if names is None else "roots.json"
        raise DataError(f"{folder / missing}: missing next to the index; {REMEDY}")
    roots = {name: Path(os.path.normpath(folder.absolute() / place)) for name, place in places.items()}
    try:
        classes = ClassNames(names)
    except DataError as error:
        raise DataError(f"{folder / 'classes.json'}: {error}; {REMEDY}") from None
    return path, Rows(classes, _Places(roots))


class Rows:
    """Makes entries of rows; what many rows share is made once."""

    def __init__(self, classes: ClassNames, places: _Places) -> None:
        self.classes = classes
        self.places = places
        self.splits = dict[tuple[str, ...], tuple[str, ...]]()
        self.no_extras = dict[str, Path]()

    def entry(self, row: Row, where: str) -> Entry:
        """Return the entry of a row; `where` it stands is in the message of a DataError."""
        if row["labels"] != sorted(set(row["labels"])) or (row["labels"] and row["labels"][-1] >= len(self.classes)):
            raise DataError(f"{where}: `labels`: expected ascending class numbers below {len(self.classes)}; {REMEDY}")
        sample = Sample(
            image_id=row["id"],
            image=self.places.path(row["image"], where),
            labels=tuple(row["labels"]),
            mask=None if row["mask"] is None else self.places.path(row["mask"], where),
            extras={name: self.places.path(place, where) for name, place in row["extras"].items()} or self.no_extras,
            orientation=row["orientation"],
            labelled=row.get("labelled", True),
        )
        member_of = tuple(row["lists"])
        return Entry(sample, self.splits.setdefault(member_of, member_of), row["size"])


def _entries(path: Path, rows: Rows) -> Iterator[Entry]:
    seen: set[str] = set()
    for number, row in enumerate(read_lines(path, Row, REMEDY), 1):
        where = f"{path}, entry {number}"
        if row["id"] in seen:
            raise DataError(f"{where}: image id {row['id'][:80]!r} occurs twice; {REMEDY}")
        seen.add(row["id"])
        yield rows.entry(row, where)


class _Places:
    """Files by root and path below it; their folders are few, and each is made once."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self.roots = roots
        self.folders: dict[str, Path] = {}

    def path(self, place: str, where: str) -> Path:
        """Return the file at `place`, ROOT:PATH.

        Raises:
            DataError: there is no such root; `where` it was named stands in the message.
        """
        folder, slash, name = place.rpartition("/")
        if not slash or not name:
            return self._made(place, where)
        if "\0" in name:
            raise self._no_such(place, where)
        if folder not in self.folders:
            self.folders[folder] = self._made(folder + slash, where)
        return self.folders[folder] / name

    def _made(self, place: str, where: str) -> Path:
        name, _, rest = place.partition(":")
        if (name and name not in self.roots) or "\0" in place:
            raise self._no_such(place, where)
        return self.roots[name] / rest if name else Path(rest)

    @staticmethod
    def _no_such(place: str, where: str) -> DataError:
        return DataError(f"{where}: {place[:80]!r} is not below any root in roots.json; {REMEDY}")


@contextmanager
def _all_kept() -> Iterator[None]:
    """Leave out the garbage collector while many objects are made that all stay: it would look at each many times."""
    collects = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collects:
            gc.enable()
