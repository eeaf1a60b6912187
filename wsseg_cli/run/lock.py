"""The lock file of a run: one process at a time, and the lock of a dead one does not stand in the way."""

from __future__ import annotations

import json
import os
import socket
import time
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType

from ..errors import StageError
from ..types import Json

_YOUNG = 30.0
"""Seconds for which a lock file without readable content is taken for one that is being written."""


class RunLock:
    """Context that holds a lock file; entering it again in the same process counts up."""

    def __init__(self, path: Path) -> None:
        """path: the lock file; its folder is made on entering."""
        self.path = path
        self._depth = 0
        self._mine = False

    def __enter__(self) -> None:
        # the other processes of a torchrun work under the lock of the first
        if self._depth == 0 and int(os.environ.get("RANK", "0")) == 0:
            self._take()
            self._mine = True
        self._depth += 1

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._depth -= 1
        if self._depth == 0 and self._mine:
            self._mine = False
            self.path.unlink(missing_ok=True)

    def _take(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(3):
            try:
                handle = os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o644)
            except FileExistsError:
                self._clear_if_dead()
                continue
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                json.dump(_self(), stream)
            return
        raise StageError(f"{self.path} is taken by one process after the other; try again")

    def _clear_if_dead(self) -> None:
        """Remove the lock of a process that is gone.

        Raises:
            StageError: the process lives, or is on another machine.
        """
        try:
            text, age = self.path.read_text(encoding="utf-8"), time.time() - self.path.stat().st_mtime
        except FileNotFoundError:
            return
        holder = _parsed(text)
        if holder is None and age < _YOUNG:
            raise StageError(f"another process is just taking {self.path}; try again in a minute")
        if holder is not None and _alive(holder):
            raise StageError(
                f"process {holder.get('pid')} on {holder.get('host')} works in {self.path.parent} since "
                f"{holder.get('since')}\n  wait for it, or use another --run; if it is gone, remove {self.path}"
            )
        # renamed first: of two processes that find the same dead lock only one can take it away
        aside = self.path.with_name(f"lock.{os.getpid()}.dead")
        try:
            self.path.rename(aside)
        except FileNotFoundError:
            return
        if aside.read_text(encoding="utf-8") != text:
            aside.rename(self.path)
            raise StageError(f"another process has just taken {self.path}")
        aside.unlink()


def holder(path: Path) -> Json | None:
    """Return host, pid and since of the living process that holds a lock file; None if none does."""
    try:
        found = _parsed(path.read_text(encoding="utf-8"))
    except OSError:
        return None
    return found if found is not None and _alive(found) else None


def _self() -> Json:
    pid = os.getpid()
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": pid, "since": since, "start": _start_of(pid)}


def _parsed(text: str) -> Json | None:
    try:
        data = json.loads(text)
    except ValueError:
        return None
    return data if isinstance(data, dict) and isinstance(data.get("pid"), int) else None


def _alive(holder: Json) -> bool:
    """Return whether the process that wrote a lock may still run; on another machine nobody can tell."""
    if holder.get("host") != socket.gethostname():
        return True
    pid = holder["pid"]
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    # a number may have been given to another process since, which containers do all the time
    return holder.get("start") is None or holder["start"] == _start_of(pid)


def _start_of(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None where the system does not say."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])
