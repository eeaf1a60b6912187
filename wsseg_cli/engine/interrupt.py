"""Ctrl-C and SIGTERM deferred to the end of a step, so that training can save its state and resume from there."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

from ..signals import Terminated, terminate


class Interrupt:
    """While inside, the first Ctrl-C or SIGTERM only sets `asked`; a second one stops at once.

    SIGTERM is deferred only in a process that handles it at all (see `raise_on_sigterm`).
    """

    def __init__(self) -> None:
        self.asked: type[KeyboardInterrupt] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupt:
        if threading.current_thread() is threading.main_thread():
            self._before[signal.SIGINT] = signal.signal(signal.SIGINT, self._ask)
            if signal.getsignal(signal.SIGTERM) is terminate:
                self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        wanted = Terminated if number == signal.SIGTERM else KeyboardInterrupt
        if self.asked:
            raise wanted
        self.asked = wanted
