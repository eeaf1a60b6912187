"""The progress line, with a clock that the test turns."""

from __future__ import annotations

import pytest

from wsseg_cli.engine import progress
from wsseg_cli.engine.progress import ProgressLine


class Clock:
    """Stands in for the module `time`."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


def test_no_time_left_before_it_means_something(clock: Clock) -> None:
    with ProgressLine("cam", 101, quiet=True) as line:
        clock.now += 60  # workers start
        line.advance()
        assert line.text() == "cam        1/101"
        clock.now += 1
        line.advance(5)
        assert line.text() == "cam        6/101", "a second is too short"
        clock.now += 4
        line.advance(5)
        # ten in five seconds since the first: 90 more take 45; the minute before it does not come again
        assert line.text() == "cam        11/101  2 img/s  0:45 left"


def test_few_steps_say_nothing_however_long_they_took(clock: Clock) -> None:
    with ProgressLine("train", 10, quiet=True, unit_size=16) as line:
        for _ in range(3):
            clock.now += 30
            line.advance(loss=0.5)
        assert line.text() == "train      3/10  loss 0.5"
        clock.now += 30
        line.advance()
        assert line.text() == "train      4/10  loss 0.5  0.533 img/s  3:00 left"


def test_the_end_says_what_the_whole_took(clock: Clock) -> None:
    with ProgressLine("cam", 10, start=4, quiet=True) as line:
        clock.now += 3
        line.advance(6)
        assert line.text() == "cam        10/10  2 img/s  0:03"


def test_the_first_line_elsewhere_than_on_a_terminal(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    with ProgressLine("cam", 4) as line:
        line.live = False
        for _ in range(4):
            clock.now += 1
            line.advance()
    assert capsys.readouterr().err.splitlines() == [
        "cam        1/4",
        "cam        2/4",
        "cam        3/4",
        "cam        4/4  1 img/s  0:04",
    ]
