"""Two nodes: two launchers that meet on the loopback address and share a run make the files of one process."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from end_to_end.toy_run import contents, environment, write_recipe, wsseg


def on_two_nodes(recipe: Path, *words: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1"]
    meeting = ["--rdzv-id", "test", "--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}"]
    command = [*launcher, *meeting, "-m", "wsseg_cli", *words, "--recipe", str(recipe)]
    given = {"cwd": recipe.parent, "env": environment(), "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    nodes = [subprocess.Popen(command, text=True, **given) for _ in range(2)]
    try:
        said = [node.communicate(timeout=200)[0] for node in nodes]
    finally:
        for node in nodes:
            node.kill()
    assert [node.returncode for node in nodes] == [0, 0], "\n".join(said)


@pytest.mark.slow
def test_two_nodes(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    one, two = tmp_path / "one", tmp_path / "two"
    wsseg(recipe, "run", "--to", "pseudo", "--run-dir", str(one))
    two.mkdir()
    for stage in ("prepare", "train-cls"):
        shutil.copytree(one / stage, two / stage)
    for stage in ("cam", "pseudo"):
        on_two_nodes(recipe, stage, "--run-dir", str(two))
    assert contents(two / "cam", "*.safetensors") == contents(one / "cam", "*.safetensors")
    assert contents(two / "pseudo", "*.png") == contents(one / "pseudo", "*.png")
