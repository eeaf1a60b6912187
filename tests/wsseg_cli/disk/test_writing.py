from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from wsseg_cli.data.tensor_files import write_tensors
from wsseg_cli.disk.writing import new_folder, remove, sweep, write_atomically, write_text
from wsseg_cli.errors import DataError


def test_modes_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "text", "a")
        write_tensors(tmp_path / "tensors", {"a": np.zeros(3)}, {})
    finally:
        os.umask(before)
    assert [(tmp_path / name).stat().st_mode & 0o777 for name in ("text", "tensors")] == [0o640, 0o640]


def test_what_cannot_be_written_is_one_error_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*(Not a directory|File exists)"):
        write_text(tmp_path / "file" / "below", "a")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(DataError, match="cannot write"):
        write_text(tmp_path / "loop" / "a", "a")
    with pytest.raises(ZeroDivisionError):
        write_atomically(tmp_path / "x", lambda path: 1 / 0)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "loop"]


def test_what_is_no_file_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/null")
    for name, reason in (("folder", "a folder"), ("pipe", "a FIFO"), ("device", "a device")):
        with pytest.raises(DataError, match=f"cannot write .*{name}: {reason}"):
            write_text(tmp_path / name, "a")
    assert (tmp_path / "device").is_symlink() and Path("/dev/null").is_char_device()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["device", "folder", "pipe"]


def test_letters_that_are_none_are_replaced(tmp_path: Path) -> None:
    write_text(tmp_path / "a", "x\udcffy")
    assert (tmp_path / "a").read_text() == "x?y"


def test_a_folder_is_whole_or_not_there(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), new_folder(tmp_path / "a") as folder:
        (folder / "half").touch()
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []
    for text in ("one", "two"):
        with new_folder(tmp_path / "a") as folder:
            (folder / "file").write_text(text)
    assert (tmp_path / "a" / "file").read_text() == "two" and len(list(tmp_path.iterdir())) == 1
    remove(tmp_path / "a")
    remove(tmp_path / "never there")
    assert list(tmp_path.iterdir()) == []


def test_the_dead_are_swept_and_the_living_are_not(tmp_path: Path) -> None:
    dead = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, text=True)
    gone, parent = int(dead.stdout), os.getppid()
    names = [f".a.json.{gone}.tmp", f"deep/.b.png.{gone}.tmp", f".c.{os.getpid()}.tmp", f".d.{parent}.tmp", "e.tmp"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / f".step_000005.{gone}.tmp" / "inside").mkdir(parents=True)
    sweep(tmp_path, deep=False)
    assert (tmp_path / names[1]).exists()
    sweep(tmp_path)
    assert sorted(p.name for p in tmp_path.rglob("*")) == sorted(["deep", f".d.{parent}.tmp", "e.tmp"])


KILLED_IN_THE_LIBRARY = """
import os, sys
from pathlib import Path
import numpy as np
import safetensors.numpy
from wsseg_cli.data.tensor_files import write_tensors

def killed(tensors, path, metadata=None):
    Path(path).with_name(".tmpABCDEF").touch()  # what the library fills before it renames
    os._exit(9)

safetensors.numpy.save_file = killed
write_tensors(Path(sys.argv[1], "tensors"), {"a": np.zeros(3)}, {})
"""


def test_what_a_library_leaves_is_swept(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED_IN_THE_LIBRARY, str(tmp_path)])
    assert done.returncode == 9 and list(tmp_path.rglob(".tmpABCDEF"))
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())
