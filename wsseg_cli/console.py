"""What a terminal sees: results on stdout, everything else on stderr, plain tables, errors in one form.

The same lines are log records of `wsseg_cli.console`, for the log of a run.
"""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Sequence

from .types import Json

SCHEMA_VERSION = 1
"""Version of every object that --json prints; a new key does not change it, another meaning of one does."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
"""What --log-level takes; at "info", the default, remarks and progress are shown."""

_log = logging.getLogger(__name__)
_all = logging.getLogger("wsseg_cli")
_all.addHandler(logging.NullHandler())  # else logging itself would print errors a second time
_all.setLevel(logging.INFO)
_shown = logging.INFO


def set_level(name: str) -> None:
    """Show on stderr what is at least as important as `name`, one of `LEVELS`."""
    global _shown
    _shown = LEVELS[name]
    _all.setLevel(min(_shown, logging.INFO))  # the log of a run gets remarks in any case
    if LEVELS[name] == logging.DEBUG and not any(isinstance(handler, _Debug) for handler in _all.handlers):
        _all.addHandler(_Debug())


def quiet() -> bool:
    """Return whether remarks and progress are left out."""
    return _shown > logging.INFO


class _Debug(logging.Handler):
    """Prints what only --verbose asks for; everything more important is printed by the functions below."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.INFO and is_main_process():
            print(f"debug: {self.format(record)}", file=sys.stderr, flush=True)


def is_main_process() -> bool:
    """Return whether this is the process that speaks, the first of a torchrun."""
    return os.environ.get("RANK", "0") == "0"


def say(text: str = "") -> None:
    """Print a result on stdout, once however many processes run."""
    if is_main_process():
        print(text, flush=True)
        _log.info("%s", text)


def note(text: str) -> None:
    """Print a remark on stderr, once however many processes run."""
    if is_main_process():
        if not quiet():
            print(text, file=sys.stderr, flush=True)
        _log.info("%s", text)


def error(text: str) -> None:
    """Print an error on stderr; of several processes each says which it is."""
    rank = os.environ.get("RANK", "0")
    head = _coloured("error:", "31") if rank == "0" else f"error in process {rank}:"
    print(f"{head} {text}", file=sys.stderr, flush=True)
    _log.error("%s", text)


def advice_on_letters(text: str) -> str:
    """Return what to do where `text` names a path in letters that paths cannot have in this Python; "" elsewhere."""
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        encoding = sys.getfilesystemencoding()
        return (
            f"\n  in this locale Python knows paths in {encoding} alone and finds no file of such a name: "
            "`export PYTHONUTF8=1` and run the command again"
        )
    return ""


def say_json(data: Json) -> None:
    """Print one JSON object with its schema_version on stdout."""
    plain = (getattr(sys.stdout, "encoding", None) or "utf-8").lower().replace("-", "") != "utf8"
    if is_main_process():
        print(
            json.dumps({"schema_version": SCHEMA_VERSION} | data, indent=2, ensure_ascii=plain, default=str), flush=True
        )


class Lasting(io.TextIOWrapper):
    """A text stream that its reader may close: what is written afterwards goes nowhere, and the work goes on."""

    def write(self, text: str) -> int:
        """Write as ever."""
        try:
            return super().write(text)
        except BrokenPipeError:
            self._lead_nowhere()
            return len(text)

    def flush(self) -> None:
        """Flush as ever."""
        try:
            super().flush()
        except BrokenPipeError:
            self._lead_nowhere()

    def _lead_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def outlast_readers() -> None:
    """Make stdout and stderr outlast their readers, and say what they can on a console without Unicode.

    `wsseg status | head -1` is no failed check then: a command ends with the exit code of its work.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is io.TextIOWrapper:
            encoding, lines = stream.encoding, stream.line_buffering
            lasting = Lasting(stream.detach(), encoding, "backslashreplace", line_buffering=lines)
            setattr(sys, name, lasting)


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Return rows as aligned columns, two blanks between; the same text in a pipe as on a terminal."""
    lines = [list(map(str, row)) for row in ([header, *rows] if header else rows)]
    count = max((len(line) for line in lines), default=0)
    widths = [max((len(line[i]) for line in lines if i < len(line)), default=0) for i in range(count)]
    return "\n".join("  ".join(f"{cell:<{widths[i]}}" for i, cell in enumerate(line)).rstrip() for line in lines)


def _coloured(text: str, code: str) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"
