"""`--use` and the recipe that a run keeps: what is missing, what is left out, and what the messages advise."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from made_up_run import write_run
from typer.testing import CliRunner, Result

from wsseg_cli.data.stores import MaskStore, ScoreStore
from wsseg_cli.main import app

RECIPE = """\
name: own
dataset: {name: toy, options: {train: 4, val: 2, size: [64, 64], workers: 1}, train: train, val: val}
train_cls:
  method: {name: cam, options: {backbone: small, backbone_options: {width: 8}}}
  weights: none
  batch_size: 2
  max_steps: 1
  augment: {crop: 32}
  optim: {name: sgd, lr: 0.01}
cam: {}
pseudo: {background: {threshold: 0.4}}
train_seg:
  segmenter: {name: deeplabv2, options: {backbone: small, backbone_options: {width: 8}, form: v2_small}}
  weights: train_cls
  batch_size: 2
  epochs: 1
  augment: {crop: 32}
  optim: {name: sgd, lr: 0.01}
runtime: {workers: 0, device: cpu}
"""


def wsseg(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "300"})


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a prepared run of four toy scenes; `maps` and `masks` are folders from elsewhere that lack one of them."""
    monkeypatch.chdir(tmp_path)
    Path("r.yaml").write_text(RECIPE)
    done = wsseg("prepare", "-r", "r.yaml", "--run", "run")
    assert done.exit_code == 0, done.output
    made = write_run(tmp_path / "made", ("a", "b"))
    score = next(iter(ScoreStore(made / "cam").values()))
    truth = Path("run/prepare/data").resolve()
    for number in range(3):
        name = f"scene_{number:05d}"
        mask = next(truth.rglob(f"masks/{name}.png"))
        (tmp_path / "masks").mkdir(exist_ok=True)
        shutil.copy(mask, tmp_path / "masks" / f"{name}.png")
        from dataclasses import replace

        ScoreStore(tmp_path / "maps").write(replace(score, image_id=name, size=(64, 64)))
    return tmp_path / "run"


def test_images_without_a_file(run: Path) -> None:
    words = ["pseudo", "--run", "run", "--use", "cam=maps"]
    done = wsseg(*words)
    assert done.exit_code == 4 and "1 of 4 images have no file in maps, such as 'scene_00003'" in done.stderr
    assert "`--skip-missing`" in done.stderr and "wsseg cam" not in done.stderr
    done = wsseg(*words, "--skip-missing")
    assert done.exit_code == 0, done.output
    assert "1 of 4 images have no file in maps, such as 'scene_00003': left out" in done.stderr
    assert len(MaskStore(run / "pseudo").missing([f"scene_{n:05d}" for n in range(4)])) == 1
    for what, folder in (("pseudo", "masks"), ("cam", "maps")):
        words = ["eval", "--run", "run", "--what", what, "--use", f"{what}={folder}"]
        done = wsseg(*words)
        assert done.exit_code == 4 and f"no file in {folder}" in done.stderr and f"wsseg {what}" not in done.stderr
        done = wsseg(*words, "--skip-missing", "--json")
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["results"][0]["protocol"]["images"] == 3


def test_no_image_has_a_file(run: Path) -> None:
    Path("none").mkdir()
    Path("none/notes.txt").write_text("nothing here")
    done = wsseg("pseudo", "--run", "run", "--use", "cam=none", "--skip-missing")
    assert done.exit_code == 4 and "4 of 4 images have no file in none" in done.stderr


def test_a_training_from_masks_of_elsewhere(run: Path) -> None:
    words = ["train-seg", "--run", "run", "--use", "pseudo=masks", "--skip-missing", "-q"]
    done = wsseg(*words)
    assert done.exit_code == 5
    assert "`wsseg train-cls` first, or start from other weights with `--set train_seg.weights=none`" in done.stderr
    done = wsseg(*words, "--set", "train_seg.weights=none", "--set", "train_seg.max_steps=1")
    assert done.exit_code == 2
    assert (
        "give exactly one of max_steps and epochs; `--set train_seg.epochs=null` removes the other one" in done.stderr
    )
    done = wsseg(
        *words, "--set", "train_seg.weights=none", "--set", "train_seg.max_steps=1", "--set", "train_seg.epochs=null"
    )
    assert done.exit_code == 0, done.output
    assert "deeplabv2 on 3 pseudo-masks" in done.stdout


def test_a_run_keeps_its_recipe(run: Path) -> None:
    made = ["--set", "train_cls.max_steps=2", "--set", "train_cls.optim.lr=0.02"]
    assert wsseg("train-cls", "-r", "r.yaml", "--run", "run", "-q", *made).exit_code == 0
    kept = Path("run/recipe.yaml").read_text()
    assert "read from r.yaml" in kept.splitlines()[0]
    done = wsseg("train-cls", "--run", "run")
    assert done.exit_code == 0 and "up to date" in done.stdout
    assert "Next: wsseg cam --run run" in done.stderr
    assert Path("run/recipe.yaml").read_text() == kept
    for command in ("train-cls", "cam"):
        done = wsseg(command, "-r", "r.yaml", "--run", "run")
        assert done.exit_code == 5
        assert "train_cls.max_steps: 2 → 1" in done.stderr and "train_cls.optim.lr: 0.02 → 0.01" in done.stderr
        assert "to keep it, leave out --recipe and --set: `--run run` alone takes the recipe" in done.stderr
        assert "to make it again: `wsseg train-cls --force`" in done.stderr
    assert wsseg("cam", "--run", "run", "-q").exit_code == 0
    done = wsseg("cam", "--run", "run", "--set", "cam.infer.flip=true")
    assert done.exit_code == 5 and "cam.infer.flip: false → true" in done.stderr and "to keep it" in done.stderr
    assert wsseg("eval", "--run", "run", "--what", "cam", "-q").exit_code == 0
