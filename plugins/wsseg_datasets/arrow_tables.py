"""Which tables of a Hugging Face data set cannot be read: its library often says what is wrong, but not where."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsseg_cli.disk.reading import require_regular
from wsseg_cli.disk.records import read_lines, read_record
from wsseg_cli.errors import DataError

_PATTERNS = ("*.parquet", "metadata.jsonl", "metadata.csv")


def check_json(root: Path) -> None:
    """Check the JSON below `root` before Arrow reads it, which crashes on deep nesting or null for a row.

    Raises:
        DataError: a line of JSON lines is not an object, a `.json` file is not JSON, or either is nested too deep.
    """
    for path in sorted(path for suffix in ("jsonl", "ndjson", "json") for path in root.rglob(f"*.{suffix}")):
        _require_regular(path)
        if path.suffix == ".json" and _is_json(path):
            continue
        for _ in read_lines(path, dict[str, Any], "expected an object a line"):
            pass


def _require_regular(path: Path) -> None:
    try:
        require_regular(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _is_json(path: Path) -> bool:
    try:
        return read_record(path, dict[str, Any] | list[Any], "") is not None  # type: ignore[arg-type]
    except DataError:
        return False


def broken_tables(root: Path) -> list[str]:
    """Return the tables below `root` that their reader refuses, as relative paths, each with the reason."""
    found = []
    for path in sorted(path for pattern in _PATTERNS for path in root.rglob(pattern)):
        try:
            _read(path)
        except Exception as error:  # the readers fail in many ways
            found.append(f"{path.relative_to(root)}: {str(error).splitlines()[0][:200]}")
    return found


def _read(path: Path) -> None:
    if path.suffix == ".parquet":
        from pyarrow import parquet

        with parquet.ParquetFile(path) as table:
            for _ in table.iter_batches(64):
                pass
        return
    from pyarrow import csv, json

    path.read_text(encoding="utf-8")  # arrow lets other bytes pass, and the library fails on them later
    if path.suffix == ".jsonl":
        json.read_json(path)
    else:
        csv.read_csv(path)
