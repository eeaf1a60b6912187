"""Somebody else's package, really installed: its good plugin trains, its broken one is reported and breaks nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from installed import Wsseg, command_line, install

HERE = Path(__file__).resolve().parent

RECIPE = """\
name: stranger
dataset: {name: toy, options: {train: 8, val: 2}, train: train, val: val}
train_cls:
  method: {name: stripes, options: {width: 4}}
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
    folder = tmp_path_factory.mktemp("stranger")
    shutil.copytree(HERE / "package", folder / "source")
    return install(folder / "source", folder / "site")


@pytest.fixture
def wsseg(site: Path, tmp_path: Path) -> Wsseg:
    """Return a function that runs the command line with the package in sight."""
    (tmp_path / "stranger.yaml").write_text(RECIPE, encoding="utf-8")
    return command_line(site, tmp_path)


def states(done: subprocess.CompletedProcess[str]) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["name"], row["package"]): row for row in json.loads(done.stdout)["plugins"]}


@pytest.mark.parametrize("flag", [[], ["--strict"]])
def test_what_is_broken_is_reported(wsseg: Wsseg, flag: list[str]) -> None:
    done = wsseg("plugins", "list", "--json", *flag)
    assert done.returncode == (1 if flag else 0)
    rows = states(done)
    assert rows["stripes", "wsseg-stranger"]["state"] == "ok"
    assert rows["stripes", "wsseg-stranger"]["paper"] == "Nobody, Nowhere 2026"
    assert rows["stripes", "wsseg-stranger"]["version"] == "1.2"
    problem = rows["broken", "wsseg-stranger"]["problem"]
    assert problem == "ModuleNotFoundError: No module named 'wsseg_no_such_dependency'"
    assert "belongs to wsseg" in rows["cam", "wsseg-stranger"]["problem"]
    assert rows["cam", "wsseg"]["state"] == "ok"
    if flag:
        assert "lacks build_model" in rows["hollow", "wsseg-stranger"]["problem"]


def test_what_is_broken_is_refused_when_asked_for(wsseg: Wsseg) -> None:
    done = wsseg("plugins", "show", "broken")
    assert done.returncode == 3
    assert "plugin 'broken' (wsseg-stranger 1.2) does not load: ModuleNotFoundError" in done.stderr
    assert "Traceback" not in done.stderr
    done = wsseg("recipes", "check", "stranger.yaml", "--set", "train_cls.method.name=hollow")
    assert done.returncode == 2 and "it lacks build_model, scores" in done.stderr


def test_options_are_checked_and_shown(wsseg: Wsseg) -> None:
    done = wsseg("plugins", "show", "stripes")
    assert done.returncode == 0 and "channels of each convolution" in done.stdout and ">= 1" in done.stdout
    done = wsseg("recipes", "check", "stranger.yaml", "--set", "train_cls.method.options.with=3")
    assert done.returncode == 2 and "unknown option (got 3); did you mean 'width'?" in done.stderr


@pytest.mark.slow
def test_the_good_one_trains(wsseg: Wsseg, tmp_path: Path) -> None:
    done = wsseg("run", "--recipe", "stranger.yaml", "--to", "cam", "--json")
    assert done.returncode == 0, done.stderr
    assert [stage["stage"] for stage in json.loads(done.stdout)["stages"]] == ["prepare", "train-cls", "cam"]
    assert len(list((tmp_path / "runs" / "stranger" / "cam").glob("*.safetensors"))) == 8
    done = wsseg("status", "--json")
    stages = json.loads(done.stdout)["runs"][0]["stages"]
    assert [(stage["stage"], stage["state"]) for stage in stages][:3] == [
        ("prepare", "done"),
        ("train-cls", "done"),
        ("cam", "done"),
    ]
