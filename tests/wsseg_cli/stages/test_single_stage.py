"""A method that is a segmentation network itself: predict, eval and export take its run without train-seg."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from wsseg_cli.main import app

RECIPE = """\
name: single
dataset: {name: toy, options: {train: 8, val: 2}, train: train, val: val}
train_cls:
  method: {name: METHOD, options: {OPTIONS}}
  weights: none
  batch_size: 4
  max_steps: 2
  augment: {crop: 64}
  optim: {name: sgd, lr: 0.01}
runtime: {workers: 0, device: cpu}
"""

SMALL = "backbone: small, backbone_options: {width: 8}"
OPTIONS = {
    "onestage": f"{SMALL}, channels: 16, pad_size: null",
    "rsepm": f"{SMALL}, decoder_width: 16, aspp_dilations: [1, 2, 3]",
    "toco": "backbone: timm/vit_tiny_patch16_224, backbone_options: {arguments: {img_size: 64, patch_size: 8, "
    "embed_dim: 24, depth: 3, num_heads: 2}}, projection: [16, 8, 8], local_size: 16",
}


def wsseg(*words: str) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == 0, done.output
    return done.stdout


def trained(folder: Path, method: str, options: str) -> Path:
    recipe = folder / "r.yaml"
    recipe.write_text(RECIPE.replace("METHOD", method).replace("OPTIONS", options))
    wsseg("run", "--recipe", str(recipe), "--run", str(folder / "run"), "--to", "train-cls", "--quiet")
    return recipe


@pytest.mark.parametrize("method", list(OPTIONS))
def test_a_run_without_train_seg(tmp_path: Path, method: str) -> None:
    recipe = trained(tmp_path, method, OPTIONS[method])
    run = tmp_path / "run"
    photo = next((run / "prepare" / "data").rglob("images/scene_00000.png"))
    wsseg("predict", str(photo), "--model", str(run), "--out", str(tmp_path / "masks"), "--quiet")
    mask = np.asarray(Image.open(tmp_path / "masks" / "scene_00000.png"))
    assert mask.shape == np.asarray(Image.open(photo)).shape[:2]
    said = json.loads(
        wsseg("eval", "--recipe", str(recipe), "--run", str(run), "--what", "seg", "--split", "train", "--json")
    )
    record = said["results"][0]
    assert record["artefact"] == "seg" and record["protocol"]["supervision"] == "I"
    same = np.asarray(Image.open(run / "eval" / "seg-train" / "scene_00000.png"))
    assert (same == mask).mean() > 0.999  # predict folds batch norms as eval does
    assert "precision" not in record["protocol"]["infer"] and "tf32" not in record["protocol"]


def test_a_protocol_says_the_arithmetic(tmp_path: Path) -> None:
    trained(tmp_path, "onestage", OPTIONS["onestage"])
    keys = ["--set", "eval.infer.precision=bf16", "--set", "runtime.tf32=true"]
    recipe = ["--recipe", str(tmp_path / "r.yaml"), "--run", str(tmp_path / "run"), *keys]
    said = json.loads(wsseg("eval", *recipe, "--what", "seg", "--split", "train", "--json"))
    protocol = said["results"][0]["protocol"]
    assert protocol["infer"]["precision"] == "bf16" and protocol["tf32"] is True


@pytest.mark.skipif(importlib.util.find_spec("onnxscript") is None, reason="onnxscript is not installed")
@pytest.mark.slow
@pytest.mark.parametrize("method", list(OPTIONS))
def test_export(tmp_path: Path, method: str) -> None:
    trained(tmp_path, method, OPTIONS[method])
    assert "of torch" in wsseg("export", "onnx", str(tmp_path / "run"))


def test_a_classifier_gives_no_masks(tmp_path: Path) -> None:
    recipe = trained(tmp_path, "cam", f"{SMALL}, dropout: 0")
    run = tmp_path / "run"
    done = CliRunner().invoke(app, ["predict", str(recipe), "--model", str(run), "--out", str(tmp_path / "out")])
    assert done.exit_code == 6 and "the network of method 'cam' gives score maps rather than masks" in done.output
    done = CliRunner().invoke(app, ["eval", "--recipe", str(recipe), "--run", str(run), "--what", "seg"])
    assert done.exit_code == 5 and "no train_seg section" in done.output
    done = CliRunner().invoke(app, ["recipes", "check", str(recipe), "--set", "eval.infer.flip=true"])
    assert done.exit_code == 2 and "eval.infer: is not used" in done.output
