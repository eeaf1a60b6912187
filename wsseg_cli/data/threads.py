"""Threads for work that releases the interpreter's lock, such as decoding and encoding pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

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
