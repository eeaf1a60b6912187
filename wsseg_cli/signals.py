"""Ctrl-C and SIGTERM: both end a command cleanly; workers leave them to their parent and do not outlive it.

Whether a process is alive is checked here too, since the answer comes from a signal.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED, TERMINATED = 130, 143
"""Exit codes after SIGINT and SIGTERM, as shells and schedulers know them."""

_SIGNAL_0_ASKS = os.name == "posix"
"""Elsewhere it asks nothing: on Windows signal 0 is Ctrl-C, which the process would receive."""


class Terminated(KeyboardInterrupt):
    """Raised in the main thread on SIGTERM, as KeyboardInterrupt is on Ctrl-C."""


def raise_on_sigterm() -> None:
    """Make SIGTERM end this process as Ctrl-C does, with files, workers and lock cleaned up on the way."""
    signal.signal(signal.SIGTERM, terminate)


def terminate(number: int, frame: FrameType | None) -> None:
    """Answer SIGTERM."""
    raise Terminated


def may_run(pid: int) -> bool:
    """Return whether a process with this PID may be running on this machine: True if the system cannot tell."""
    if not _SIGNAL_0_ASKS:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, and belongs to another user
        return True
    return True


@contextmanager
def children_deaf() -> Iterator[None]:
    """Inside the context, SIGINT and SIGTERM do not reach the processes that are started.

    Terminals and schedulers send both to all processes of a group; a worker that is still importing would answer with a
    traceback of its own. Signals that reach this process meanwhile are delivered at the end.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # if it started by itself, it would let the signals through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def end_with_parent() -> None:
    """End this worker process as soon as its parent has ended, for whatever reason."""
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        parent.join()
        os._exit(TERMINATED)

    threading.Thread(target=watch, daemon=True, name="watch for the parent's end").start()
