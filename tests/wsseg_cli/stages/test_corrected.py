"""`train_seg.masks: corrected`: hand masks where there are some, what is said of them, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from wsseg_cli.data.index import read_index
from wsseg_cli.data.stores import MaskStore, write_mask
from wsseg_cli.main import app
from wsseg_cli.report import collect
from wsseg_cli.report.tables import protocols
from wsseg_cli.stages import Context, train_seg
from wsseg_cli.status import open_existing, status

RECIPE = """\
name: mine
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
  masks: corrected
  corrected: hand
  repeat_corrected: 3
  weights: train_cls
  batch_size: 2
  max_steps: 1
  augment: {crop: 32}
  optim: {name: sgd, lr: 0.01}
runtime: {workers: 0, device: cpu}
"""


def wsseg(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "300"})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a run of four toy scenes up to its pseudo-masks, and an empty folder `hand`."""
    box = tmp_path_factory.mktemp("corrected")
    (box / "r.yaml").write_text(RECIPE)
    (box / "hand").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(box)
        done = wsseg("run", "-r", "r.yaml", "--run", "run", "--to", "pseudo", "--quiet")
    assert done.exit_code == 0, done.output
    return box


@pytest.fixture
def box(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of the test's own with all of it, which is the working directory."""
    copied = Path(shutil.copytree(made, tmp_path / "box"))
    monkeypatch.chdir(copied)
    return copied


def by_hand(name: str, value: int = 1, size: tuple[int, int] = (64, 64)) -> None:
    write_mask(Path("hand") / f"{name}.png", np.full(size, value, np.uint8))


def state(stage: str) -> tuple[str, str]:
    found = next(line for line in status(open_existing(Path("run"))) if line.stage == stage)
    return found.state, found.detail


def test_hand_masks_take_the_place_of_pseudo_masks(box: Path) -> None:
    by_hand("scene_00001")
    by_hand("scene_00003", 2)
    by_hand("scene_10001")  # of val
    opened = open_existing(Path("run"))
    context = Context(opened, opened.recipe)
    learnt = train_seg._learnt_from(context, read_index(Path("run/prepare")))
    pseudo = MaskStore(Path("run/pseudo"))
    ids = [f"scene_{number:05d}" for number in range(4)]
    masks = [pseudo.path(ids[0]), Path("hand/scene_00001.png"), pseudo.path(ids[2]), Path("hand/scene_00003.png")]
    assert [sample.image_id for sample in learnt.samples] == ids
    assert [sample.mask for sample in learnt.samples] == masks
    assert [sample.mask for sample in learnt.again] == [masks[1], masks[3]] * 2
    assert context.notes == ["1 hand masks in hand are of images that are not trained on: left out"]


def test_it_is_said_everywhere(box: Path) -> None:
    by_hand("scene_00001")
    done = wsseg("train-seg", "--run", "run")
    assert done.exit_code == 0, done.output
    said = "corrected masks: pseudo 3, hand 1, each of the hand masks 3 times"
    assert said in done.stdout
    done = wsseg("eval", "--run", "run", "--what", "seg")
    assert done.exit_code == 0 and said in done.stdout, done.output
    protocol = json.loads(Path("run/eval/seg-val.json").read_text())["protocol"]
    assert protocol["masks"] == said and protocol["supervision"] == "I, hand masks"
    assert f"| trained on | {said} |" in Path("run/train-seg/model.md").read_text()
    head, rows = protocols(collect([Path("run")]))
    assert rows[-1][head.index("masks")] == said


def test_a_hand_mask_that_is_new_or_changed_is_noticed(box: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = wsseg("train-seg", "--run", "run")
    assert done.exit_code == 0 and "no training image has a hand mask in hand" in done.stderr, done.output
    assert state("train-seg")[0] == "done"
    by_hand("scene_00002")
    assert state("train-seg") == ("stale", "the hand masks have changed")
    done = wsseg("train-seg", "--run", "run")
    assert done.exit_code == 5 and "the hand masks have changed" in done.stderr
    assert wsseg("train-seg", "--run", "run", "--force").exit_code == 0
    assert state("train-seg")[0] == "done" and state("pseudo")[0] == "done"
    by_hand("scene_00002", 2)
    assert state("train-seg")[0] == "stale"
    by_hand("scene_00002")
    Path("hand").rename("elsewhere")  # what was read stands where the folder is out of sight
    assert state("train-seg")[0] == "done"
    # what counts is their content, wherever they lie
    opened = open_existing(Path("run"), overrides=["train_seg.corrected=elsewhere"])
    assert opened.changes("train-seg") == []
    by_hand_elsewhere = Path("elsewhere/scene_00000.png")
    shutil.copyfile("elsewhere/scene_00002.png", by_hand_elsewhere)
    opened = open_existing(Path("run"), overrides=["train_seg.corrected=elsewhere"])
    assert opened.changes("train-seg") == ["the hand masks have changed"]
    monkeypatch.delenv("NOWHERE", raising=False)
    opened = open_existing(Path("run"), overrides=["train_seg.corrected=${NOWHERE}"])
    assert opened.changes("train-seg") == []


def test_a_network_that_learnt_anew_predicts_anew(box: Path) -> None:
    """Masks of the network before would give the same figures whatever was corrected."""
    words = ["--run", "run", "--set", "train_seg.max_steps=20", "--set", "train_seg.optim.lr=0.1"]
    assert wsseg("train-seg", *words).exit_code == 0 and wsseg("eval", "--what", "seg", *words).exit_code == 0
    for number in range(4):
        by_hand(f"scene_{number:05d}", 6)
    assert wsseg("train-seg", "--force", *words).exit_code == 0
    done = wsseg("eval", "--what", "seg", "--split", "val", *words)
    assert done.exit_code == 0, done.output
    classes = read_index(Path("run/prepare")).classes
    assert (MaskStore(Path("run/eval/seg-val")).read("scene_10000", classes) == 6).all()


def refused(*words: str) -> str:
    done = wsseg(*words, "--run", "run")
    assert done.exit_code == 4, done.output
    assert not Path("run/train-seg").exists()
    return done.stderr


@pytest.mark.parametrize("command", [("train-seg",), ("run",), ("prepare", "--force")], ids=lambda words: words[0])
def test_what_cannot_be_used_is_named_before_anything_is_trained(box: Path, command: tuple[str, ...]) -> None:
    by_hand("scene_00000", size=(64, 60))
    by_hand("scene_00001", 9)
    by_hand("scene_1")
    Path("hand/scene_00002.jpg").touch()
    Path("hand/scene_00004.png").mkdir()
    by_hand("scene_00003")
    said = refused(*command)
    assert "5 hand masks cannot be used" in said
    assert "hand/scene_00004.png: hand masks are PNG files, ID.png, not folders" in said
    assert "hand/scene_00000.png: the mask is 60x64 pixels, its image 64x64" in said
    assert "hand/scene_00001.png: mask value 9 is out of range for 6 classes" in said
    assert "hand/scene_1.png: none of the 6 photos of the run is called like this" in said
    assert "hand/scene_00002.jpg: hand masks are PNG files, ID.png" in said
    assert "scene_00003" not in said


def test_two_for_one_image_and_a_folder_that_is_not_there(box: Path) -> None:
    shutil.rmtree("hand")
    assert "no folder hand of hand masks; `wsseg convert masks" in refused("train-seg")
    assert "no folder hand of hand masks" in refused("run")


def test_the_masks_of_the_data_set(box: Path) -> None:
    """All toy scenes have a mask: nothing is left for the pseudo-masks."""
    shutil.rmtree("hand")
    done = wsseg("train-seg", "--run", "run", "--set", "train_seg.corrected=null", "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["learnt_from"] == {"pseudo": 0, "hand": 4}


def test_keys_that_nothing_would_read(box: Path) -> None:
    done = wsseg("train-seg", "--run", "run", "--set", "train_seg.masks=pseudo")
    assert done.exit_code == 2
    assert "train_seg.corrected: is not used: masks: pseudo reads no hand masks" in done.stderr
    assert "train_seg.repeat_corrected: is not used" in done.stderr
