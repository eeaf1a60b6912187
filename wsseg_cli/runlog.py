"""The log of a run, RUN/wsseg.log: each command with its line, version, start, end and exit code, and its messages.

It is UTF-8, is only appended to, and belongs to no stage: nothing is read from it, no result depends on it.
"""

from __future__ import annotations

import logging
import os
import platform
import shlex
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from . import __version__

FILE = "wsseg.log"
LOGGER = logging.getLogger("wsseg_cli")


class RunLog(logging.Handler):
    """Appends records to the log of a run; they wait until its folder exists, and are lost if it never does."""

    def __init__(self, run: Path) -> None:
        """run: the run's directory, which need not exist yet."""
        super().__init__()
        self.run = run.absolute()
        self._waiting: list[str] = []
        self._begun = time.monotonic()
        self.add("start", f"wsseg {__version__}, Python {platform.python_version()}: {command_line()}")

    def emit(self, record: logging.LogRecord) -> None:
        """Append a record; if it has several lines, the later ones are indented."""
        self.add(record.levelname.lower(), self.format(record))

    def add(self, word: str, text: str) -> None:
        """Append a line with the time in front."""
        now = datetime.now(timezone.utc).isoformat(timespec="seconds").replace("+00:00", "Z")
        body = text.rstrip().replace("\n", "\n    ")
        self._waiting.append(f"{now} {os.getpid()} {word:<7} {body}\n")
        if not self.run.is_dir():
            return
        lines, self._waiting = self._waiting, []
        try:
            with open(self.run / FILE, "a", encoding="utf-8", errors="backslashreplace", opener=_at_once) as file:
                file.write("".join(lines))
        except OSError:
            pass  # whatever matters reports a full disk; the log spoils no work

    def end(self, code: int) -> None:
        """Append the command's exit code and how long it took."""
        self.add("end", f"exit code {code} after {time.monotonic() - self._begun:.1f} s")


def _at_once(path: str, flags: int) -> int:
    """Open a file; a FIFO in its place is refused by the system instead of waiting for a reader."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0), 0o666)


def command_line() -> str:
    """Return this process' command as one would type it."""
    return shlex.join(["wsseg", *sys.argv[1:]])


def open_log(run: Path) -> None:
    """Also write all messages from now on to the log of `run`; a second run in one command is left out."""
    if not any(isinstance(handler, RunLog) for handler in LOGGER.handlers):
        LOGGER.addHandler(RunLog(run))


def close_log(code: int) -> None:
    """End the log of this command with its exit code, if there is one."""
    for handler in list(LOGGER.handlers):
        if isinstance(handler, RunLog):
            handler.end(code)
            LOGGER.removeHandler(handler)
