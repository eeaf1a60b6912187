"""Two processes under torchrun: the same commands, the same files from one model, training on the same mathematics."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from end_to_end.toy_run import command, contents, environment, write_recipe, wsseg


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


@pytest.mark.slow
def test_sigterm_saves_at_the_same_step(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    longer = ["--set", "train_cls.max_steps=60", "--set", "train_cls.save_every=50"]
    straight, ended = tmp_path / "straight", tmp_path / "ended"
    wsseg(recipe, "prepare", "--run-dir", str(straight), *longer)
    shutil.copytree(straight, ended)
    wsseg(recipe, "train-cls", "--run-dir", str(straight), *longer, processes=2)

    words = command(recipe, "train-cls", "--run-dir", str(ended), *longer, processes=2)
    launcher = subprocess.Popen(words, cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
    assert launcher.stderr is not None
    said = ""
    while "step" not in said:  # the first line of progress: training has begun
        said = launcher.stderr.readline()
        assert launcher.poll() is None
    time.sleep(0.2)
    launcher.send_signal(signal.SIGTERM)
    said = launcher.communicate(timeout=120)[1]
    assert launcher.returncode != 0 and not (ended / "train-cls" / "model.safetensors").exists()
    assert "same command" in said
    (state,) = (ended / "train-cls").glob("step_*")  # saved at no regular step, by the signal alone
    assert 0 < int(state.name.removeprefix("step_")) < 50

    wsseg(recipe, "train-cls", "--run-dir", str(ended), *longer, processes=2)
    for name in ("model.safetensors", "metrics.jsonl"):
        assert contents(ended / "train-cls", name) == contents(straight / "train-cls", name)
