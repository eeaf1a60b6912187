"""Which tables of a Hugging Face data set cannot be read: its library often says what is wrong, but not where."""

from __future__ import annotations

from pathlib import Path

_PATTERNS = ("*.parquet", "metadata.jsonl", "metadata.csv")


def broken_tables(root: Path) -> list[str]:
    """Return the tables below `root` that its reader refuses, as paths from there, each with the reason."""
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
