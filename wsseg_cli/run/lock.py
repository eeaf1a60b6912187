"""The lock file of a run: one process at a time; the lock of a dead process does not block it."""

from __future__ import annotations

import json
import os
import socket
from contextlib import suppress
from datetime import datetime, timezone
from pathlib import Path
from types import TracebackType
from typing import Annotated

from pydantic import Field, with_config
from typing_extensions import TypedDict

from ..disk.records import OPEN, read_record
from ..disk.writing import remove, temporary_name, writing
from ..errors import StageError
from ..signals import may_run

_TRIES = 5


class RunLock:
    """Context that holds a lock file; entering it again in the same process counts up."""

    def __init__(self, path: Path) -> None:
        """path: the lock file; its folder is created on entering."""
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
            with suppress(OSError):  # a lock that cannot be removed soon belongs to a dead process
                self.path.unlink(missing_ok=True)

    def _take(self) -> None:
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(_TRIES):
            if self._made():
                return
            self._clear_if_dead()
        raise StageError(f"{self.path} is being taken by other processes in turn; try again")

    def _made(self) -> bool:
        """Create the lock file with its content in one step; return whether there was none before."""
        own = temporary_name(self.path)
        with writing(self.path):
            try:
                own.write_text(json.dumps(_self()), encoding="utf-8")
                try:
                    os.link(own, self.path)
                except FileExistsError:
                    return False
                except OSError:  # a file system without hard links
                    if os.path.lexists(self.path):
                        return False
                    os.rename(own, self.path)
                return True
            finally:
                with suppress(OSError):
                    own.unlink(missing_ok=True)

    def _clear_if_dead(self) -> None:
        """Remove the lock of a process that is gone, and whatever else is in a lock's place.

        A lock is created together with its content, so a file without content was never one.

        Raises:
            StageError: the process lives, or is on another machine.
        """
        found = _holder(self.path)
        if found is not None and _alive(found):
            raise StageError(
                f"process {found['pid']} on {found['host']} has worked in {self.path.parent} since {found['since']}"
                f"\n  wait for it, or use another --run; if it is gone, remove {self.path}"
            )
        # renamed first: if two processes find the same dead lock, only one can remove it
        aside = self.path.with_name(f".{self.path.name}.dead.{os.getpid()}.tmp")
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        except OSError as error:
            raise StageError(f"{self.path} stands in the way and cannot be removed ({error.strerror})") from error
        if _holder(aside) != found:
            with suppress(OSError):
                os.link(aside, self.path)
        remove(aside)


@with_config(OPEN)
class _Holder(TypedDict):
    """Who holds a lock; `start` tells processes with the same PID apart; None if the system does not report it."""

    host: str
    pid: Annotated[int, Field(ge=1, lt=1 << 31)]
    since: str
    start: int | None


def holder(path: Path) -> _Holder | None:
    """Return host, pid and since of the living process that holds a lock file; None if none does."""
    found = _holder(path)
    return found if found is not None and _alive(found) else None


def _holder(path: Path) -> _Holder | None:
    """Return what a lock file says; None if it is not one of our lock files."""
    try:
        return read_record(path, _Holder, "", StageError, largest=1 << 16)
    except StageError:
        return None


def _self() -> _Holder:
    pid = os.getpid()
    since = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"host": socket.gethostname(), "pid": pid, "since": since, "start": _start_of(pid)}


def _alive(holder: _Holder) -> bool:
    """Return whether the process that wrote a lock may still run; on another machine this cannot be known."""
    if holder["host"] != socket.gethostname():
        return True
    pid = holder["pid"]
    if not may_run(pid):
        return False
    # the PID may have been given to another process since, which containers do all the time
    return holder["start"] is None or holder["start"] == _start_of(pid)


def _start_of(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None if the system does not report it."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])
