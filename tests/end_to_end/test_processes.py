"""Two processes under torchrun: the same commands, the same files from one model, training on the same mathematics."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from end_to_end.toy_run import contents, write_recipe, wsseg


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    one, two = tmp_path / "one", tmp_path / "two"
    wsseg(recipe, "run", "--run-dir", str(one))
    two.mkdir()
    shutil.copytree(one / "prepare", two / "prepare")
    shutil.copytree(one / "train-cls", two / "train-cls")
    for stage in ("cam", "pseudo"):
        wsseg(recipe, stage, "--run-dir", str(two), processes=2)
    assert contents(two / "cam", "*.safetensors") == contents(one / "cam", "*.safetensors")
    assert contents(two / "pseudo", "*.png") == contents(one / "pseudo", "*.png")
    both = tmp_path / "both"
    wsseg(recipe, "run", "--run-dir", str(both), processes=2)
    assert json.loads((both / "train-cls" / "done.json").read_text())["processes"] == 2
    ours = json.loads((both / "eval" / "cam-train.json").read_text())["miou"]
    alone = json.loads((one / "eval" / "cam-train.json").read_text())["miou"]
    assert abs(ours - alone) < 3  # ten scenes: batch norm sees other halves; the quickstart itself is held to 1
