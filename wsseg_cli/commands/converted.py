"""The summary of a conversion of many files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from .. import console
from ..errors import DataError

_SHOWN = 12


def say_files(
    out: Path, written: int, counts: Counter[int], failures: list[tuple[Path, str]], word: str, as_json: bool
) -> None:
    """Print the summary of a conversion of many files.

    Raises:
        DataError: some could not be converted.
    """
    if as_json:
        failed = [{"file": str(path), "problem": problem} for path, problem in failures]
        by_number = {str(number): count for number, count in sorted(counts.items())}
        console.say_json({"out": out, "written": written, "counts": by_number, "failures": failed})
    else:
        rows = [(f"{word} {number}", files(count)) for number, count in sorted(counts.items())]
        console.say(console.table([*rows, ("written", files(written)), ("to", str(out))]))
    refuse(written, failures, "file")


def files(count: int) -> str:
    """Return "1 file" or "N files"."""
    return f"{count} file{'' if count == 1 else 's'}"


def refuse(written: int, failures: list[tuple[Path, str]], word: str) -> None:
    """Name the inputs that were not converted.

    Raises:
        DataError: there are such inputs.
    """
    if failures:
        shown = [problem for _, problem in failures[:_SHOWN]]
        shown += [f"… and {len(failures) - _SHOWN} more"] if len(failures) > _SHOWN else []
        count = f"{len(failures)} of {written + len(failures)} {word}s were not converted"
        raise DataError("\n  ".join([count, *shown]))
