"""The progress line of a long loop: a live bar on a terminal, one line every few per cent elsewhere; on stderr only."""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import Any

_STEPS, _SECONDS = 3, 2.0
"""Steps and seconds needed after the first step before a rate says anything about the rest."""


class ProgressLine:
    """Counts towards `total` and shows count, rate, time left and the numbers that matter.

    label: what is running, such as "train-cls"; unit: what the rate counts, such as "img"; each step counts as
    `unit_size` of them. `quiet` shows nothing.
    """

    def __init__(
        self,
        label: str,
        total: int,
        *,
        start: int = 0,
        word: str = "",
        unit: str = "img",
        unit_size: int = 1,
        quiet: bool = False,
    ) -> None:
        self.label, self.total, self.word, self.unit, self.unit_size = label, total, word, unit, unit_size
        self.count = self.start = start
        self.quiet = quiet
        self.numbers: dict[str, float] = {}
        self.live = not quiet and sys.stderr.isatty() and os.environ.get("TERM", "") != "dumb"
        self._next_line = 0.0
        self._first: tuple[int, float] | None = None
        self._bar: Any = None

    def __enter__(self) -> ProgressLine:
        self.begun = time.monotonic()
        if self.live:
            from rich.console import Console
            from rich.progress import BarColumn, Progress, TextColumn

            self._bar = Progress(
                TextColumn("{task.description:<10}"),
                BarColumn(24),
                TextColumn("{task.fields[text]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._task = self._bar.add_task(self.label, total=self.total, completed=self.count, text="")
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        if not self.quiet and self.live and self.count > self.start:
            print(self.text(), file=sys.stderr, flush=True)

    def show(self, **numbers: float) -> None:
        """Show `numbers` next to the count from the next advance on."""
        self.numbers.update(numbers)

    def advance(self, by: int = 1, **numbers: float) -> None:
        """Count `by` more as done and show `numbers` next to the count."""
        self.count += by
        if self._first is None:
            self._first = self.count, time.monotonic()
        self.numbers.update(numbers)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.count, text=self.text(short=True))
        elif not self.quiet and self.total and self.count / self.total >= self._next_line:
            print(self.text(), file=sys.stderr, flush=True)
            self._next_line = (int(20 * self.count / self.total) + 1) / 20

    def text(self, short: bool = False) -> str:
        """Return the line: label, count, numbers, rate, time left."""
        numbers = "  ".join(f"{name} {value:.4g}" for name, value in self.numbers.items())
        word = f"{self.word} " if self.word else ""
        parts = [f"{word}{self.count}/{self.total}", numbers, *self._pace()]
        line = "  ".join(part for part in parts if part)
        return line if short else f"{self.label:<10} {line}"

    def _pace(self) -> list[str]:
        """Return rate and time left, or nothing until they are meaningful; at the end rate and time of the whole loop.

        What precedes the first step (starting processes, compiling code) happens once, so the rate counts from
        that step on, and is shown only after a few more steps and seconds.
        """
        now = time.monotonic()
        if self.count >= self.total:
            seconds = max(now - self.begun, 1e-9)
            rate = (self.count - self.start) * self.unit_size / seconds
            return [f"{rate:.3g} {self.unit}/s", _duration(seconds)]
        count, since = self._first or (self.count, now)
        if self.count - count < _STEPS or now - since < _SECONDS:
            return []
        rate = (self.count - count) * self.unit_size / (now - since)
        left = (self.total - self.count) * self.unit_size / rate
        return [f"{rate:.3g} {self.unit}/s", f"{_duration(left)} left"]


class DownloadLine:
    """Shows a download in MiB: called with the bytes received and the bytes in total, 0 if unknown."""

    def __init__(self, label: str, quiet: bool = False) -> None:
        self.label, self.quiet = label, quiet
        self._line: ProgressLine | None = None

    def __enter__(self) -> DownloadLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._line is not None:
            self._line.__exit__(kind, error, trace)

    def __call__(self, done: int, total: int) -> None:
        """Show that `done` of `total` bytes have arrived."""
        if not total:
            return
        now = done >> 20 if done < total else -(-total >> 20)
        if self._line is None:
            self._line = ProgressLine(self.label, -(-total >> 20), start=now, unit="MiB", quiet=self.quiet)
            self._line.__enter__()
        if now != self._line.count:
            self._line.advance(now - self._line.count)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
