"""The plugin that docs/plugins.md shows whole, installed as it stands there: a method that learns nothing."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from installed import ROOT, command_line, install

from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.engine import checkpoint

CODE = re.search(r'```python\n("""Grad-CAM.*?)```', (ROOT / "docs" / "plugins.md").read_text("utf-8"), re.DOTALL)

PROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "wsseg-gradcam"
version = "1.0"
[project.entry-points."wsseg.methods"]
gradcam = "wsseg_gradcam:GradCAM"
[tool.hatch.build.targets.wheel]
only-include = ["wsseg_gradcam.py"]
"""

TRAINED = """\
name: trained
dataset: {name: toy, options: {train: 8, val: 2}, train: train, val: val}
train_cls:
  method: {name: cam, options: {backbone: small, backbone_options: {width: 8}}}
  weights: none
  batch_size: 4
  max_steps: 3
  augment: {crop: 64}
  optim: {name: sgd, lr: 0.01}
cam: {}
runtime: {workers: 0, device: cpu}
"""

FROZEN = """\
name: frozen
dataset: {name: toy, options: {train: 8, val: 2}, train: train, val: val}
train_cls:
  method: {name: gradcam, options: {backbone: small, backbone_options: {width: 8}}}
  weights: runs/trained/train-cls/model.safetensors
cam: {}
runtime: {workers: 0, device: cpu}
"""


@pytest.mark.slow
def test_a_method_that_learns_nothing(tmp_path: Path) -> None:
    assert CODE is not None
    assert len(list(filter(str.strip, CODE[1].splitlines()))) <= 30, "the page promises thirty lines"
    source = tmp_path / "source"
    source.mkdir()
    (source / "wsseg_gradcam.py").write_text(CODE[1], encoding="utf-8")
    (source / "pyproject.toml").write_text(PROJECT, encoding="utf-8")
    wsseg = command_line(install(source, tmp_path / "site"), tmp_path)
    (tmp_path / "trained.yaml").write_text(TRAINED, encoding="utf-8")
    (tmp_path / "frozen.yaml").write_text(FROZEN, encoding="utf-8")
    done = wsseg("run", "--recipe", "trained.yaml", "--to", "train-cls")
    assert done.returncode == 0, done.stderr
    done = wsseg("plugins", "show", "gradcam")
    assert "no training; gradients at inference" in done.stdout, done.stdout + done.stderr
    assert wsseg("recipes", "check", "frozen.yaml").returncode == 0
    done = wsseg("run", "--recipe", "frozen.yaml", "--to", "cam", "--json")
    assert done.returncode == 0, done.stderr
    model = tmp_path / "runs" / "frozen" / "train-cls" / checkpoint.MODEL
    weights = tmp_path / "runs" / "trained" / "train-cls" / checkpoint.MODEL
    assert model.stat().st_size < 2000
    frozen = checkpoint.read_header(model)["frozen"]
    assert Path(frozen["file"]).name == checkpoint.MODEL and len(frozen["sha256"]) == 64
    maps = ScoreStore(tmp_path / "runs" / "frozen" / "cam")
    assert len(maps) == 8 and all(maps[image_id].scores.max(initial=0) <= 1 for image_id in maps)

    done = wsseg("recipes", "check", "frozen.yaml", "--set", "train_cls.batch_size=4")
    assert done.returncode == 2 and "train_cls" in done.stderr
    done = wsseg("recipes", "check", "trained.yaml", "--set", "train_cls.method.name=gradcam")
    assert done.returncode == 2 and "train_cls.optim: is not used: method 'gradcam' learns nothing" in done.stderr
    done = wsseg("recipes", "check", "frozen.yaml", "--set", "train_cls.method.name=cam")
    assert done.returncode == 2 and "method 'cam' trains: give batch_size, optim" in done.stderr

    seg = "train_seg={segmenter: {name: deeplabv1, options: {backbone: small, form: v1_caffe}}, weights: train_cls, "
    seg += "batch_size: 4, max_steps: 1, optim: {name: sgd, lr: 0.1}}"
    psa = "refine={refiner: [{name: psa, options: {backbone: small}, train: {weights: train_cls, batch_size: 4, "
    psa += "max_steps: 1, optim: {name: sgd, lr: 0.1}}}]}"
    pseudo = "pseudo={background: {threshold: 0.3}}"
    for words in (("recipes", "check", "frozen.yaml"), ("run", "--recipe", "frozen.yaml", "--run", "other")):
        done = wsseg(*words, "--set", seg, "--set", psa, "--set", pseudo)
        assert done.returncode == 2 and not (tmp_path / "other").exists(), done.stderr
        for at in ("train_seg.weights", "refine.refiner[0].train.weights"):
            assert f"{at}: train_cls: method 'gradcam' learns nothing and keeps no network" in done.stderr, done.stderr
        assert "such as train_cls.weights, 'runs/trained/train-cls/model.safetensors'" in done.stderr

    shutil.copyfile(tmp_path / "runs" / "frozen" / "cam" / "scene_00000.safetensors", tmp_path / "other.safetensors")
    shutil.copyfile(tmp_path / "other.safetensors", weights)
    done = wsseg("cam", "--recipe", "frozen.yaml", "--force")
    assert done.returncode == 6 and "whose content has since changed" in done.stderr, done.stderr
    done = wsseg("train-cls", "--recipe", "frozen.yaml", "--force", "--set", "train_cls.weights=none")
    assert done.returncode == 6 and "would be random" in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and json.loads((tmp_path / "runs/trained/train-cls/done.json").read_text())
