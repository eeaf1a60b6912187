"""Kills, failing file operations and signals."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from end_to_end.toy_run import command, environment, write_recipe

from hardening.interruptions import faults, kills, orphans


@pytest.mark.slow
def test_twenty_kills() -> None:
    lines, bad = kills(20, "suite")
    assert bad == [], lines


@pytest.mark.slow
def test_a_few_faults() -> None:
    lines, bad = faults(7, "suite")
    if "skipped" in lines[0]:
        pytest.skip(lines[0])
    assert bad == [], lines


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize(("stage", "files"), [("train-cls", "step_*"), ("cam", "*.safetensors")])
def test_a_signal_ends_a_command_in_order(tmp_path: Path, number: int, code: int, stage: str, files: str) -> None:
    recipe = write_recipe(tmp_path)
    many = recipe.read_text().replace("workers: 1, device", "workers: 2, device").replace("train: 10", "train: 24")
    recipe.write_text(many)
    run = tmp_path / "runs" / "tiny"
    with (tmp_path / "stderr").open("w+") as errors:
        process = subprocess.Popen(
            command(recipe, "run"), cwd=tmp_path, env=environment(), start_new_session=True, stderr=errors
        )
        deadline = time.monotonic() + 300
        while process.poll() is None and not list((run / stage).glob(files)):
            assert time.monotonic() < deadline
            time.sleep(0.02)
        if number == signal.SIGINT:
            os.killpg(process.pid, number)  # as a terminal does, workers that still start among them
        else:
            process.send_signal(number)
        assert process.wait(300) == code
        errors.seek(0)
        said = errors.read()
    assert "Traceback" not in said and "leaked" not in said
    assert "the same command resumes from there" in said
    deadline = time.monotonic() + 20  # a process that watches semaphores ends when it sees that its parent has
    while list(orphans(process.pid)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(orphans(process.pid)) == []
    assert not (run / "lock").exists() and list(run.rglob("*.tmp")) == []
