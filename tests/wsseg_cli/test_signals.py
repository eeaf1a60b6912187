from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from wsseg_cli import signals
from wsseg_cli.disk.writing import sweep
from wsseg_cli.signals import may_run


def test_a_process_that_runs_and_one_that_has_ended() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert may_run(os.getpid()) and not may_run(ended.pid)


def test_no_signal_is_sent_where_it_would_be_more_than_a_question(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    monkeypatch.setattr(signals, "_SIGNAL_0_ASKS", False)
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(pid))
    left = tmp_path / ".map.999999.tmp"
    left.touch()
    sweep(tmp_path)
    assert may_run(999_999) and sent == []
    assert left.exists(), "a file of a process that may run stays"
