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
    assert abs(ours - alone) < 3  # ten scenes: batch norm sees other halves


@pytest.mark.slow
def test_two_processes_learn_as_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    recipe = write_recipe(tmp_path)
    same = {"sync_batch_norm": "true", "method.options.dropout": "0", "max_steps": "8"}
    sets = [word for key, value in same.items() for word in ("--set", f"train_cls.{key}={value}")]
    sets += ["--set", "runtime.log_every=1", "--set", "runtime.device=auto"]
    wsseg(recipe, "prepare", "--run-dir", str(tmp_path / "one"), *sets)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    losses = []
    for count, name in ((1, "one"), (2, "two")):
        wsseg(recipe, "train-cls", "--run-dir", str(tmp_path / name), *sets, processes=count)
        lines = (tmp_path / name / "train-cls" / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["cls"] for line in lines])
    assert len(losses[0]) == 8 and losses[1] == pytest.approx(losses[0], abs=1e-4)
