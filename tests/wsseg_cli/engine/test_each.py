from __future__ import annotations

import os

import pytest

from wsseg_cli.engine.each import Work, Workers, each
from wsseg_cli.errors import DataError


def squares(offset: int) -> Work:
    def work(name: str) -> tuple[int, int]:
        if name == "13":
            raise DataError("13 is broken")
        return int(name) ** 2 + offset, os.getpid()

    return work


def test_results_and_failures() -> None:
    done = each([str(n) for n in range(20)], squares, (1,), quiet=True)
    assert done.failures == {"13": "13 is broken"}
    assert done.results["5"][0] == 26 and len(done.results) == 19


@pytest.mark.slow
def test_workers_do_the_same() -> None:
    done = each([str(n) for n in range(40)], squares, (1,), workers=Workers(2), quiet=True)
    assert {n: value for n, (value, _) in done.results.items()} == {str(n): n**2 + 1 for n in range(40) if n != 13}
    assert os.getpid() not in {pid for _, pid in done.results.values()}
    assert done.failures == {"13": "13 is broken"}


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_threads_do_the_same(workers: int) -> None:
    done = each([str(n) for n in range(40)], squares, (1,), workers=Workers(workers, threads=True), quiet=True)
    assert done.results == {str(n): (n**2 + 1, os.getpid()) for n in range(40) if n != 13}
    assert done.failures == {"13": "13 is broken"}
    with pytest.raises(ValueError, match="invalid literal"):
        each(["1", "x"], squares, (0,), workers=Workers(workers, threads=True), quiet=True)


def test_a_bug_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        each(["x"], squares, (0,), quiet=True)
