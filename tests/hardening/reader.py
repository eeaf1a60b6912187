"""What a reader is to the campaign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

Call = Callable[[], object]


@dataclass(frozen=True)
class Reader:
    """A reader: form of its files (see `mutate.FORMS`), and what makes a whole one.

    make: (empty folder) -> (file to damage, call that reads it as a command does). slow: a call takes long.
    """

    form: str
    make: Callable[[Path], tuple[Path, Call]]
    slow: bool = False
