"""Threads for work that releases the interpreter's lock, such as decoding pictures; processes for the rest."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from typing import TypeVar

from ..signals import children_deaf, end_with_parent

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def cores() -> int:
    """Return the number of cores that this job may use: within its CPU affinity and the limits of its control group."""
    from joblib import cpu_count

    return int(cpu_count())


def in_threads(
    work: Callable[[_Item], _Result], items: Iterable[_Item], workers: int | None = None
) -> Iterator[_Result]:
    """Yield `work(item)` for each item, in order; workers: threads, by default one per core."""
    workers = cores() if workers is None else workers
    if workers <= 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(work, items)


def in_processes(work: Callable[[_Item], object], items: Sequence[_Item], workers: int, *, worth: int) -> None:
    """Call `work`, which can be pickled, with each item, in worker processes that end with this one.

    worth: number of items from which processes cost less than they save.
    """
    if workers <= 1 or len(items) < worth or not _main_can_be_spawned():
        for item in items:
            work(item)
        return
    # Spawned, not forked: the parent may hold threads of torch, which a fork would copy mid-step.
    with ProcessPoolExecutor(workers, get_context("spawn"), end_with_parent) as pool:
        with children_deaf():
            done = pool.map(work, items, chunksize=8)
        for _ in done:
            pass


def _main_can_be_spawned() -> bool:
    """Return whether a spawned process could import the main program again; it cannot if that came from stdin."""
    program = getattr(sys.modules.get("__main__"), "__file__", None)
    return program is None or os.path.isfile(program)
