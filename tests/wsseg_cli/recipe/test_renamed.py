"""Recipes, runs and model files with the option names of before 0.1.0."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner
from wsseg_cam.method import CAM
from wsseg_deeplab.segmenter import DeepLabV2

from wsseg_cli.data.tensor_files import write_tensors
from wsseg_cli.engine import checkpoint
from wsseg_cli.errors import CheckpointError, StageError
from wsseg_cli.main import app
from wsseg_cli.recipe import loading
from wsseg_cli.recipe.renamed import RENAMED, modernise, with_new_names
from wsseg_cli.run.directory import RunDir
from wsseg_cli.settings import InferSettings
from wsseg_cli.stages.plugins import predictor_from
from wsseg_cli.status import open_existing, status
from wsseg_cli.types import ClassNames

TEXT = """\
name: old
dataset: {name: toy, train: train}
train_cls:
  method: {name: cam, options: {backbone: small, rates: [1, 1, 1, 1], class_start: zero}}
  weights: none
  batch_size: 4
  max_steps: 20
  optim: {name: sgd, lr: 1e-2}
cam: {}
pseudo: {background: {threshold: 0.3}}
train_seg:
  segmenter: {name: deeplabv2, options: {backbone: small, form: v2_small, head_rate: 2.0}}
  weights: none
  batch_size: 4
  max_steps: 20
  optim: {name: sgd, lr: 1e-2}
"""


def today(text: str) -> str:
    for old, new in RENAMED.items():
        text = text.replace(f"{old}:", f"{new}:")
    return text


def test_check_says_the_new_name(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(TEXT, encoding="utf-8")
    done = CliRunner().invoke(app, ["recipes", "check", str(file)], env={"COLUMNS": "200"})
    assert done.exit_code == 2
    for old in ("rates", "class_start", "head_rate"):
        assert f"`{old}` is now `{RENAMED[old]}`" in done.stderr
    file.write_text(today(TEXT), encoding="utf-8")
    assert loading.check(file) == []


def test_a_stage_says_the_new_name(tmp_path: Path) -> None:
    file = tmp_path / "old.yaml"
    file.write_text(TEXT, encoding="utf-8")
    done = CliRunner().invoke(app, ["run", "--recipe", str(file), "--run", str(tmp_path / "run")])
    assert done.exit_code == 2 and "`rates` is now `lr_multipliers`" in done.stderr


def test_a_plugin_that_has_an_option_of_that_name_keeps_it() -> None:
    assert with_new_names({"rates": 1}, {"rates", "lr_multipliers"}) == {"rates": 1}
    assert with_new_names({"rates": 1}, {"other"}) == {"rates": 1}
    assert with_new_names({"rates": 1, "other": 2}, {"lr_multipliers"}) == {"lr_multipliers": 1, "other": 2}


@pytest.fixture
def old_run(tmp_path: Path) -> Path:
    """Return a run whose records have the old names, as far as train-cls."""
    file = tmp_path / "old.yaml"
    file.write_text(TEXT, encoding="utf-8")
    run = RunDir(tmp_path / "run", loading.load(file))
    run.begin("prepare")
    run.finish("prepare", index="abc", counts={"train": 3})
    run.begin("train-cls")
    run.finish("train-cls")
    assert "train_cls.method.options.rates" in json.loads((run.path / "train-cls/stage.json").read_text())["asks"]
    return run.path


def test_a_run_of_before_is_read(old_run: Path) -> None:
    run = open_existing(old_run)
    assert [entry.state for entry in status(run)][:2] == ["done", "done"]
    _, options = run.recipe.plugin("train-cls")
    assert options.lr_multipliers == (1, 1, 1, 1) and options.head_init == "zero"  # type: ignore[attr-defined]


def test_a_recipe_of_today_goes_on_in_a_run_of_before(old_run: Path, tmp_path: Path) -> None:
    file = tmp_path / "today.yaml"
    file.write_text(today(TEXT), encoding="utf-8")
    assert RunDir(old_run, loading.load(file)).look("train-cls") == "done"
    changed = loading.load(file, ["train_cls.method.options.lr_multipliers=[1, 2, 1, 1]"])
    with pytest.raises(StageError, match=r"lr_multipliers: \[1, 1, 1, 1\] → \[1, 2, 1, 1\]"):
        RunDir(old_run, changed).look("train-cls")


def test_an_unknown_plugin_is_left_as_it_is() -> None:
    data: dict[str, Any] = {"train_cls": {"method": {"name": "nowhere", "options": {"rates": 1}}}}
    modernise(data)
    assert data["train_cls"]["method"]["options"] == {"rates": 1}


def test_a_model_file_of_before_is_read(tmp_path: Path) -> None:
    options = DeepLabV2.Options.model_validate({"backbone": "small", "form": "v2_small", "head_lr_multiplier": 2.0})
    segmenter = DeepLabV2(options, ClassNames(["a", "b"]))
    old = {name: key for key, name in RENAMED.items()}
    header = {
        "kind": "segmenters",
        "name": "deeplabv2",
        "options": {old.get(key, key): value for key, value in options.model_dump(mode="json").items()},
        "classes": ["a", "b"],
        "normalization": asdict(segmenter.normalization),
    }
    assert {"head_rate", "class_start"} <= header["options"].keys()
    torch.manual_seed(0)
    checkpoint.write_model(tmp_path / "old.safetensors", segmenter.build_model(), header)
    assert predictor_from(tmp_path / "old.safetensors").options == options


def written(name: str) -> Path:
    """Return a model file that wsseg wrote before the renaming, after two steps on toy scenes of 64 x 64 pixels."""
    return Path(__file__).parents[2] / "model_files" / f"{name}_before_renaming.safetensors"


def test_a_segmenter_that_was_written_before_the_renaming() -> None:
    path = written("deeplabv1")
    assert {"head_rate", "class_start"} <= checkpoint.read_header(path)["options"].keys()
    segmenter = predictor_from(path)
    assert segmenter.options.head_lr_multiplier == 2.0 and segmenter.options.head_init == "zero"
    model = segmenter.build_model()
    checkpoint.load_strictly(model, checkpoint.read_tensors(path)[0], "the old file")
    logits = segmenter.logits(model.eval(), np.full((40, 50, 3), 128, np.uint8), InferSettings())
    assert logits.shape[-3] == 7 and np.isfinite(logits).all()


def test_predict_takes_a_model_that_was_written_before_the_renaming(tmp_path: Path) -> None:
    Image.new("RGB", (50, 40), (90, 120, 60)).save(tmp_path / "photo.png")
    words = ["predict", str(tmp_path / "photo.png"), "--out", str(tmp_path / "masks"), "--model"]
    done = CliRunner().invoke(app, [*words, str(written("deeplabv1"))])
    assert done.exit_code == 0 and (tmp_path / "masks" / "photo.png").is_file(), done.output
    done = CliRunner().invoke(app, [*words, str(written("cam"))], env={"COLUMNS": "200"})
    assert done.exit_code != 0 and "method 'cam' gives score maps rather than masks" in done.stderr


def test_a_classifier_that_was_written_before_the_renaming_is_a_start() -> None:
    path = written("cam")
    header = checkpoint.read_header(path)
    assert {"rates", "class_start"} <= header["options"].keys()
    options = CAM.Options.model_validate_json(json.dumps(with_new_names(header["options"], CAM.Options.model_fields)))
    assert options.lr_multipliers == (1, 1, 2, 2)
    model = CAM(options, ClassNames(header["classes"])).build_model()
    checkpoint.load_initial(model, str(path))
    tensors = checkpoint.read_tensors(path)[0]
    assert all(torch.equal(value, tensors[name]) for name, value in model.state_dict().items())


def test_a_model_with_an_option_that_is_gone_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = written("deeplabv1")
    header = checkpoint.read_header(path)
    header["options"]["taps"] = 3
    tensors, _ = checkpoint.read_tensors(path)
    write_tensors(tmp_path / "old.safetensors", tensors, header)
    with pytest.raises(CheckpointError, match=r"^[^\n]*taps: Extra.*wsseg 0.1.0 wrote it: train it again") as caught:
        predictor_from(tmp_path / "old.safetensors")
    assert "\n" not in str(caught.value)
