"""What a terminal sees: results on stdout, everything else on stderr, plain tables, errors in one form."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence

from .types import Json

SCHEMA_VERSION = 1
"""Version of every object that --json prints; a new key does not change it, another meaning of one does."""


def is_main_process() -> bool:
    """Return whether this is the process that speaks, the first of a torchrun."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str = "") -> None:
    """Print a result on stdout, once however many processes run."""
    if is_main_process():
        print(text, flush=True)


def note(text: str) -> None:
    """Print a remark on stderr, once however many processes run."""
    if is_main_process():
        print(text, file=sys.stderr, flush=True)


def error(text: str) -> None:
    """Print an error on stderr; of several processes each says which it is."""
    rank = os.environ.get("RANK", "0")
    head = _coloured("error:", "31") if rank == "0" else f"error in process {rank}:"
    print(f"{head} {text}", file=sys.stderr, flush=True)


def say_json(data: Json) -> None:
    """Print one JSON object with its schema_version on stdout."""
    plain = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
    say(json.dumps({"schema_version": SCHEMA_VERSION} | data, indent=2, ensure_ascii=plain, default=str))


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Return rows as aligned columns, two blanks between; the same text in a pipe as on a terminal."""
    lines = [list(map(str, row)) for row in ([header, *rows] if header else rows)]
    count = max((len(line) for line in lines), default=0)
    widths = [max((len(line[i]) for line in lines if i < len(line)), default=0) for i in range(count)]
    return "\n".join("  ".join(f"{cell:<{widths[i]}}" for i, cell in enumerate(line)).rstrip() for line in lines)


def _coloured(text: str, code: str) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"
