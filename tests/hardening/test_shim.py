"""The library that lets file operations fail: every operation of Python that writes meets every kind of fault."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hardening.shim import KINDS, build, variables

OPERATIONS = {
    "write": "open(at, 'wb', buffering=0).write(b'12345678')",
    "rename": "os.replace(there, at)",
    "link": "os.link(there, at)",
    "symlink": "os.symlink(there, at)",
    "mkdir": "os.mkdir(at)",
    "unlink": "os.unlink(there)",
    "fsync": "os.fsync(os.open(there, os.O_RDONLY))",
    "ftruncate64": "os.ftruncate(os.open(there, os.O_RDWR), 3)",
    "chmod": "os.chmod(there, 0o600)",
    "unlinkat": "shutil.rmtree(folder)",
    "open64": "os.open(at, os.O_CREAT | os.O_WRONLY)",
    "sendfile64": "shutil.copyfile(there, at)",
}
"""By the name of the function in C, a line of Python that calls it."""
SETUP = """
import os, shutil, sys
root = sys.argv[1]
there, at, folder = (os.path.join(root, name) for name in ("there", "at", "folder"))
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    built = build(tmp_path_factory.mktemp("shim"))
    if built is None:
        pytest.skip("there is no C compiler")
    return built


def run(library: Path, folder: Path, line: str, kind: str, place: int) -> subprocess.CompletedProcess[str]:
    """Run a line of Python on files of its own, its operation number `place` failing."""
    mark = folder / "mark"
    shutil.rmtree(folder / "runs", ignore_errors=True)
    mark.unlink(missing_ok=True)
    (folder / "runs" / "folder").mkdir(parents=True)
    for name in ("there", "folder/file"):
        (folder / "runs" / name).write_bytes(b"whole")
    environment = os.environ | {"LD_PRELOAD": str(library)} | variables(kind, place, folder, mark)
    words = [sys.executable, "-S", "-c", SETUP + line, str(folder / "runs")]
    return subprocess.run(words, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_fail(library: Path, tmp_path: Path, name: str) -> None:
    assert run(library, tmp_path, OPERATIONS[name], "list", 0).returncode == 0
    listed = [line.split()[0] for line in (tmp_path / "mark").read_text().splitlines()]
    assert name in listed
    failed = run(library, tmp_path, OPERATIONS[name], "ENOSPC", listed.index(name) + 1)
    assert failed.returncode == 1 and "No space left on device" in failed.stderr
    assert (tmp_path / "mark").read_text().split()[0] == name


@pytest.mark.parametrize("kind", KINDS)
def test_kinds(library: Path, tmp_path: Path, kind: str) -> None:
    done = run(library, tmp_path, OPERATIONS["write"], kind, 2)
    assert (tmp_path / "mark").read_text().startswith("write ")
    size = (tmp_path / "runs" / "at").stat().st_size
    assert (done.returncode, size) == {"short": (0, 4), "kill": (-9, 0)}.get(kind, (1, 0))
    assert kind in ("short", "kill") or "OSError" in done.stderr


def test_other_files_are_left_alone(library: Path, tmp_path: Path) -> None:
    line = f"open({str(tmp_path / 'elsewhere')!r}, 'wb', buffering=0).write(b'12345678')"
    assert run(library, tmp_path, line, "ENOSPC", 1).returncode == 0
    assert not (tmp_path / "mark").exists()
