from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from wsseg_cli.errors import StageError
from wsseg_cli.run.lock import RunLock, holder


def write(path: Path, **values: object) -> None:
    path.write_text(
        json.dumps({"host": socket.gethostname(), "pid": os.getpid(), "since": "now", "start": None} | values)
    )


def test_the_second_is_told_who_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "run" / "lock"
    with RunLock(path):
        assert holder(path) is not None
        with pytest.raises(StageError, match=f"process {os.getpid()} on {socket.gethostname()}"), RunLock(path):
            pass
    assert not path.exists() and holder(path) is None


def test_it_may_be_entered_again(tmp_path: Path) -> None:
    lock = RunLock(tmp_path / "lock")
    with lock:
        with lock:
            pass
        assert lock.path.exists()
    assert not lock.path.exists()


def test_the_lock_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    code = (
        "import os, pathlib as p, sys, wsseg_cli.run.lock as l; l.RunLock(p.Path(sys.argv[1])).__enter__(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=False, cwd=Path(__file__).parents[2])
    assert path.exists() and holder(path) is None
    with RunLock(path):
        assert json.loads(path.read_text())["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []


def test_a_number_given_to_another_process_is_no_holder(tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("the system does not say when a process started")
    path = tmp_path / "lock"
    write(path, start=1)
    with RunLock(path):
        pass


def test_another_machine_is_believed(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    write(path, host="elsewhere", pid=1)
    with pytest.raises(StageError, match="remove"), RunLock(path):
        pass


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff\x00\xfe", b"{", b"[" * 100_000, b"null", b'{"pid": 99999999999999999999}', b'{"pid": -1}', b"{}"],
    ids=["empty", "binary", "cut", "deep", "null", "a huge number", "a negative number", "nothing said"],
)
def test_what_was_never_a_lock_is_taken_over_at_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "lock"
    path.write_bytes(content)
    assert holder(path) is None
    with RunLock(path):
        assert holder(path) is not None
    assert list(tmp_path.iterdir()) == []


def test_a_folder_or_a_fifo_in_its_place(tmp_path: Path) -> None:
    (tmp_path / "lock" / "inside").mkdir(parents=True)
    with RunLock(tmp_path / "lock"):
        assert (tmp_path / "lock").is_file()
    os.mkfifo(tmp_path / "lock")
    with RunLock(tmp_path / "lock"):
        assert (tmp_path / "lock").is_file()
    assert list(tmp_path.iterdir()) == []


def test_only_the_first_of_a_torchrun_takes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with RunLock(tmp_path / "lock"):
        assert not (tmp_path / "lock").exists()
