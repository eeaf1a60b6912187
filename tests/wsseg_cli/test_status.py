from __future__ import annotations

import json
from pathlib import Path

import pytest

from wsseg_cli import status
from wsseg_cli.data.index import Entry, Index, write_index
from wsseg_cli.errors import RecipeError
from wsseg_cli.recipe import loading as recipe
from wsseg_cli.run.directory import RunDir
from wsseg_cli.types import ClassNames, Sample

TEXT = """\
name: tiny
dataset: {name: toy, train: train}
train_cls:
  method: {name: cam}
  weights: none
  batch_size: 4
  max_steps: 20
  optim: {name: sgd, lr: 1e-2}
cam: {}
"""


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """Return a run with an index of three images, prepare done."""
    file = tmp_path / "tiny.yaml"
    file.write_text(TEXT, encoding="utf-8")
    run = RunDir(tmp_path / "run", recipe.load(file))
    run.begin("prepare")
    entries = [Entry(Sample(name, tmp_path / name, (0,)), ("train",), (4, 4)) for name in "abc"]
    digest = write_index(run.folder("prepare"), Index(entries, ClassNames(["x"])), {})
    run.finish("prepare", index=digest, counts={"train": 3})
    return run


def lines(run: RunDir) -> dict[str, tuple[str, str]]:
    return {line.stage: (line.state, line.detail) for line in status.status(run)}


def test_missing_and_done(run: RunDir) -> None:
    found = lines(run)
    assert list(found) == ["prepare", "train-cls", "cam", "eval"]
    assert found["prepare"][0] == "done" and "train 3" in found["prepare"][1]
    assert found["cam"] == ("missing", "")


def test_partial_training_says_the_step(run: RunDir) -> None:
    run.begin("train-cls")
    assert lines(run)["train-cls"] == ("partial", "begun")
    (run.folder("train-cls") / "step_000006").mkdir()
    assert lines(run)["train-cls"] == ("partial", "step 6/20")
    metrics = run.folder("train-cls") / "metrics.jsonl"
    metrics.write_text(json.dumps({"step": 8}) + "\n", encoding="utf-8")
    assert lines(run)["train-cls"] == ("partial", "step 8/20")
    metrics.write_text('{"step": 8}\n{"st', encoding="utf-8")
    assert lines(run)["train-cls"] == ("partial", "step 8/20")


def test_partial_images_are_counted(run: RunDir) -> None:
    run.begin("cam", ["train"])
    (run.folder("cam") / "a.safetensors").touch()
    (run.folder("cam") / "overlays").mkdir()
    assert lines(run)["cam"] == ("partial", "1/3 images")
    run.finish("cam", ["val"])
    assert lines(run)["cam"] == ("partial", "1/3 images, without train")


def test_stale_names_the_key(run: RunDir, tmp_path: Path) -> None:
    run.begin("train-cls")
    other = status.open_existing(run.path, str(tmp_path / "tiny.yaml"), ["train_cls.max_steps=30"])
    assert lines(other)["train-cls"] == ("stale", "train_cls.max_steps: 20 → 30")
    assert lines(status.open_existing(run.path))["train-cls"][0] == "partial"


def test_who_works(run: RunDir) -> None:
    assert status.working(run) == ""
    with run.lock():
        assert status.working(run).startswith("process ")


def test_no_run(tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        status.open_existing(tmp_path)
