"""Killed in the middle of a stage, then the same command: the files are those of an unbroken run, bit for bit."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from end_to_end.toy_run import command, environment, results, write_recipe, wsseg


def kill_when(recipe: Path, reached: Callable[[Path], bool]) -> None:
    """Start `wsseg run`, kill it and its workers as soon as `reached(run)` holds."""
    run = recipe.parent / "runs" / "tiny"
    process = subprocess.Popen(
        command(recipe, "run"),
        cwd=recipe.parent,
        env=environment(),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 240
    while process.poll() is None and not reached(run):
        assert time.monotonic() < deadline, "the stage was never reached"
        time.sleep(0.02)
    assert process.poll() is None, "the run ended before it could be killed"
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def inside(stage: str, files: str, count: int) -> Callable[[Path], bool]:
    """Tell whether a stage has written `count` of its files and is not done."""
    return lambda run: len(list((run / stage).glob(files))) >= count and not (run / stage / "done.json").exists()


@pytest.mark.slow
def test_killed_three_times(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    (tmp_path / "killed").mkdir()
    whole, killed = write_recipe(tmp_path / "whole"), write_recipe(tmp_path / "killed")
    wsseg(whole, "run")
    kill_when(killed, inside("train-cls", "step_*", 1))
    kill_when(killed, inside("cam", "*.safetensors", 2))
    kill_when(killed, inside("train-seg", "step_*", 1))
    wsseg(killed, "run")
    want, got = results(tmp_path / "whole/runs/tiny"), results(tmp_path / "killed/runs/tiny")
    assert all(want.values())
    assert got == want
