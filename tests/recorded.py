"""A random generator that gives what a golden case recorded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class Recorded:
    """Gives recorded draws, (limit, value) each, and checks that each is asked for with its limit."""

    def __init__(self, calls: Iterable[Sequence[int]]) -> None:
        self.calls = iter(calls)

    def integers(self, limit: int) -> int:
        """Return the next draw."""
        expected, value = next(self.calls)
        assert limit == expected
        return value
