"""The backbone of docs/plugins.md, really installed as somebody else's package: listed, described, trained on."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from installed import ROOT, Wsseg, command_line, install

PYPROJECT = """\
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "my-backbones"
version = "0.1"

[tool.hatch.build.targets.wheel]
include = ["my_backbones.py"]

[project.entry-points."wsseg.backbones"]
pyramid = "my_backbones:Pyramid"
"""

RECIPE = """\
name: pyramid
dataset: {name: toy, options: {train: 8, val: 2}, train: train, val: val}
train_cls:
  method: {name: cam, options: {backbone: pyramid, backbone_options: {width: 2, frozen: statistics}}}
  weights: none
  batch_size: 4
  max_steps: 3
  augment: {crop: 64}
  optim: {name: sgd, lr: 0.01}
cam: {}
runtime: {workers: 0, device: cpu}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder that holds the installed package."""
    folder = tmp_path_factory.mktemp("pyramid")
    page = (ROOT / "docs" / "plugins.md").read_text(encoding="utf-8")
    found = re.search(r"^```python\n(from pydantic.*?class Pyramid\(.*?)^```$", page, re.M | re.S)
    assert found and len(list(filter(str.strip, found[1].splitlines()))) <= 20, "the page promises twenty lines"
    assert page.count('pyramid = "my_backbones:Pyramid"') == 1
    (folder / "my_backbones.py").write_text(found[1], encoding="utf-8")
    (folder / "pyproject.toml").write_text(PYPROJECT, encoding="utf-8")
    return install(folder, folder / "site")


@pytest.fixture
def wsseg(site: Path, tmp_path: Path) -> Wsseg:
    """Return a function that runs the command line with the package in sight."""
    (tmp_path / "pyramid.yaml").write_text(RECIPE, encoding="utf-8")
    return command_line(site, tmp_path)


def test_it_is_listed_and_described(wsseg: Wsseg) -> None:
    done = wsseg("backbones", "pyramid", "--json")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["backbones"]
    assert row["package"] == "my-backbones 0.1" and row["feature_maps"]["conv6"] == 32
    done = wsseg("plugins", "list", "--json")
    rows = {(r["group"], r["name"]): r for r in json.loads(done.stdout)["plugins"]}
    assert rows["backbones", "pyramid"]["state"] == "ok"
    done = wsseg("plugins", "show", "pyramid")
    assert done.returncode == 0 and "channels of conv3 are three times this" in done.stdout


def test_its_options_are_checked(wsseg: Wsseg) -> None:
    done = wsseg("recipes", "check", "pyramid.yaml", "--set", "train_cls.method.options.backbone_options.witdh=3")
    assert done.returncode == 2 and "did you mean 'width'" in done.stderr
    done = wsseg("recipes", "check", "pyramid.yaml", "--set", "train_cls.method.options.backbone=pyramidd")
    assert done.returncode == 2 and "did you mean 'pyramid'" in done.stderr


@pytest.mark.slow
def test_a_method_trains_on_it(wsseg: Wsseg, tmp_path: Path) -> None:
    done = wsseg("run", "--recipe", "pyramid.yaml", "--to", "cam", "--json")
    assert done.returncode == 0, done.stderr
    assert [stage["stage"] for stage in json.loads(done.stdout)["stages"]] == ["prepare", "train-cls", "cam"]
    assert len(list((tmp_path / "runs" / "pyramid" / "cam").glob("*.safetensors"))) == 8
