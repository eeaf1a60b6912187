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
"""Version of every object that --json prints; a new key does not change it, a new meaning of a key does."""

LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
"""Values of --log-level; at "info", the default, remarks and progress are shown."""

_log = logging.getLogger(__name__)
_all = logging.getLogger("wsseg_cli")
_all.addHandler(logging.NullHandler())  # otherwise logging itself would print errors a second time
_all.setLevel(logging.INFO)
_shown = logging.INFO


def set_level(name: str) -> None:
    """Show on stderr what is at least as severe as `name`, one of `LEVELS`."""
    global _shown
    _shown = LEVELS[name]
    _all.setLevel(min(_shown, logging.INFO))  # the log of a run gets remarks in any case
    if LEVELS[name] == logging.DEBUG and not any(isinstance(handler, _Debug) for handler in _all.handlers):
        _all.addHandler(_Debug())


def quiet() -> bool:
    """Return whether remarks and progress are suppressed."""
    return _shown > logging.INFO


class _Debug(logging.Handler):
    """Prints what only --verbose shows; everything more severe is printed by the functions below."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno < logging.INFO and is_main_process():
            print(f"debug: {self.format(record)}", file=sys.stderr, flush=True)


def is_main_process() -> bool:
    """Return whether this is the process that prints, the first of a torchrun."""
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
    """Print an error on stderr; with several processes, each other than the first says which it is."""
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
    """A text stream whose reader may close it: later output is discarded, and the work continues."""

    def write(self, text: str) -> int:
        """Write, or discard the text if the reader is gone."""
        try:
            return super().write(text)
        except BrokenPipeError:
            self._lead_nowhere()
            return len(text)

    def flush(self) -> None:
        """Flush, or do nothing if the reader is gone."""
        try:
            super().flush()
        except BrokenPipeError:
            self._lead_nowhere()

    def _lead_nowhere(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


def outlast_readers() -> None:
    """Make stdout and stderr outlast their readers, and escape what a console without Unicode cannot show.

    `wsseg status | head -1` then does not count as a failure: a command ends with the exit code of its work.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if type(stream) is io.TextIOWrapper:
            encoding, lines = stream.encoding, stream.line_buffering
            lasting = Lasting(stream.detach(), encoding, "backslashreplace", line_buffering=lines)
            setattr(sys, name, lasting)


def table(rows: Sequence[Sequence[str]], header: Sequence[str] = ()) -> str:
    """Return rows as aligned columns, two spaces apart; the same text in a pipe as on a terminal."""
    lines = [list(map(str, row)) for row in ([header, *rows] if header else rows)]
    count = max((len(line) for line in lines), default=0)
    widths = [max((len(line[i]) for line in lines if i < len(line)), default=0) for i in range(count)]
    return "\n".join("  ".join(f"{cell:<{widths[i]}}" for i, cell in enumerate(line)).rstrip() for line in lines)


def _coloured(text: str, code: str) -> str:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb" or not sys.stderr.isatty()
    return text if plain else f"\x1b[{code}m{text}\x1b[0m"
