"""The index for a worker process, which needs few of its images: lines are parsed when their image is asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from ..disk.reading import read_bytes
from ..disk.records import LARGEST, parse_json, parse_record
from .index import REMEDY, Entry, Index, Row, Rows, extra_indexes, read_index, rows_of

_ID = re.compile(rb'^\{"id": ("(?:[^"\\\n]|\\.)*")', re.MULTILINE)


def look_up(folder: Path) -> Index:
    """Return the index in `folder` whose lines are parsed as images are asked for: a worker needs few of many.

    Raises:
        StageError, DataError: as `read_index`; a broken line is named when its image is asked for.
    """
    path, rows = rows_of(folder)
    lines = None if extra_indexes(folder) else _Lines.of(path, rows)
    if lines is None:
        return read_index(folder)
    index = Index((), rows.classes)
    index.entries = lines
    return index


class _Lines(Mapping[str, Entry]):
    """The entries of an index by image id, each parsed from its line whenever it is asked for."""

    def __init__(self, path: Path, rows: Rows, data: bytes, starts: dict[str, int]) -> None:
        self.path, self.rows, self.data, self.starts = path, rows, data, starts
        self.last: tuple[str, Entry] | None = None  # a worker asks several times for the image it is at

    @classmethod
    def of(cls, path: Path, rows: Rows) -> _Lines | None:
        """Return the entries of a file whose lines begin with the id, as `write_index` writes them; None of others."""
        try:
            data = read_bytes(path, LARGEST)
            starts = {_unquoted(found[1]): found.start() for found in _ID.finditer(data)}
        except (OSError, ValueError):
            return None
        whole = data.endswith(b"\n") and len(starts) == data.count(b"\n")
        return cls(path, rows, data, starts) if whole else None

    def __getitem__(self, image_id: str) -> Entry:
        last = self.last  # threads share this: it is replaced as one
        if last is not None and last[0] == image_id:
            return last[1]
        start = self.starts[image_id]
        where = f"{self.path}, image {image_id[:80]!r}"
        line = self.data[start : self.data.find(b"\n", start)]
        entry = self.rows.entry(parse_record(line, Row, where, REMEDY), where)
        self.last = image_id, entry
        return entry

    def __iter__(self) -> Iterator[str]:
        return iter(self.starts)

    def __len__(self) -> int:
        return len(self.starts)


def _unquoted(text: bytes) -> str:
    return str(parse_json(text)) if b"\\" in text else text[1:-1].decode()
