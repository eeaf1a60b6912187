"""What a reader is to the campaign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Call = Callable[[], object]
Make = Callable[[Path], tuple[Path, Call]]
"""(empty folder) -> (whole file to damage, call that reads it as a command does)."""


@dataclass(frozen=True)
class Reader:
    """A reader: form of its files (see `mutate.FORMS`), and what makes a whole one."""

    form: str
    make: Make
