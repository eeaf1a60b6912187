"""The per-image loop: this process's share of the missing images, in worker processes, with failures collected."""

from __future__ import annotations

import logging
import multiprocessing
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

from ..data.threads import in_threads
from ..errors import StageError, WssegError
from ..signals import children_deaf, end_with_parent
from . import processes
from .progress import ProgressLine

Work = Callable[[str], Any]
"""The work for one image id; returns what the caller collects (or None)."""

_FEW = 12  # with fewer images per worker, starting processes costs more than it saves

_work: Work | None = None
_log = logging.getLogger(__name__)


class Workers(NamedTuple):
    """Who processes the images: worker processes, or threads of this process; 0 or 1 means this process alone."""

    number: int = 0
    threads: bool = False


@dataclass
class Done:
    """The outcome of the loop: results by image id, and the failed images with the reason."""

    results: dict[str, Any] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)


def share(image_ids: Sequence[str]) -> list[str]:
    """Return every n-th of `image_ids`: the share of this process out of n."""
    return list(image_ids[processes.rank() :: processes.world()])


def each(
    image_ids: Sequence[str],
    setup: Callable[..., Work],
    arguments: tuple[Any, ...] = (),
    *,
    workers: Workers = Workers(),
    label: str = "",
    total: int | None = None,
    quiet: bool = False,
) -> Done:
    """Do `setup(*arguments)(image_id)` for each image, in order of completion.

    Each worker process calls `setup` once, so `setup` must be a top-level function and `arguments` picklable (pickled
    between our own processes only, never from a file). Threads share the result of a single call of `setup`. They are
    for work that releases the interpreter's lock: decoding, and networks on a GPU, which computes one image while the
    views of the next are made and the maps of the previous one are written. At most as many images are in memory as
    there are workers. Every worker, and this process if it works itself, computes with one CPU thread, so the results
    do not depend on the number of workers. Images that raise a WssegError are collected as failures; any other
    exception is a bug and stops the loop.

    total: what the progress line counts to, including images done before.
    """
    done = Done()
    total = len(image_ids) if total is None else total
    _log.debug("%s: %d images by %s", label, len(image_ids), workers)
    with ProgressLine(label, total, start=total - len(image_ids), quiet=quiet or not processes.is_main()) as line:
        outcomes = _in_threads if workers.threads else _outcomes
        for image_id, result, failure in outcomes(image_ids, setup, arguments, workers.number):
            if failure is not None:
                done.failures[image_id] = failure
            else:
                done.results[image_id] = result
            line.advance(**({"failed": len(done.failures)} if done.failures else {}))
    return done


Outcome = tuple[str, Any, "str | None"]


def _in_threads(
    image_ids: Sequence[str], setup: Callable[..., Work], arguments: tuple[Any, ...], workers: int
) -> Iterator[Outcome]:
    if image_ids:
        # without torch loaded there is nothing to set: prepare starts without it
        with one_thread() if "torch" in sys.modules else nullcontext():
            yield from in_threads(partial(_attempt, setup(*arguments)), image_ids, workers)


def _outcomes(
    image_ids: Sequence[str], setup: Callable[..., Work], arguments: tuple[Any, ...], workers: int
) -> Iterator[Outcome]:
    workers = min(workers, len(image_ids) // _FEW)
    if workers <= 1:
        if image_ids:
            with one_thread():
                work = setup(*arguments)
                for image_id in image_ids:
                    yield _attempt(work, image_id)
        return
    context = multiprocessing.get_context("spawn")  # a fork of a process with running threads may hang
    pool = ProcessPoolExecutor(workers, context, _start_worker, (setup, arguments))
    others = set(multiprocessing.active_children())
    waiting: set[Future[Outcome]] = set()
    try:
        for image_id in image_ids:
            with children_deaf():  # a pool starts a worker whenever none is idle
                waiting.add(pool.submit(_in_worker, image_id))
            if len(waiting) >= 4 * workers:
                finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in finished)
        while waiting:
            finished, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    except BrokenProcessPool:
        raise StageError(
            "a worker process died, perhaps because memory ran out; what is done is kept. "
            "Run the same command again, with `--set runtime.workers=1` if it happens again"
        ) from None
    except BaseException:
        # images in progress are abandoned: their files are complete or absent, and they are done next time
        for worker in set(multiprocessing.active_children()) - others:
            worker.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(setup: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    global _work
    end_with_parent()
    _set_threads(1)
    _work = setup(*arguments)


def _in_worker(image_id: str) -> Outcome:
    if _work is None:
        raise RuntimeError("worker without work")
    return _attempt(_work, image_id)


def _attempt(work: Work, image_id: str) -> Outcome:
    try:
        return image_id, work(image_id), None
    except WssegError as error:
        return image_id, None, str(error)
    except (MemoryError, RuntimeError) as error:
        from .memory import IMAGE_ADVICE, is_out_of_memory

        if not is_out_of_memory(error):
            raise
        return image_id, None, IMAGE_ADVICE


def _set_threads(count: int) -> int:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count)
    return before


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread while inside, as the workers do: splitting a sum differently changes its last bits."""
    before = _set_threads(1)
    try:
        yield
    finally:
        _set_threads(before)
