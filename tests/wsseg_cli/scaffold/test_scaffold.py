"""`plugins new`: what it writes installs without network, is listed, passes its own tests and runs its recipe."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from wsseg_cli.errors import PluginError
from wsseg_cli.main import app
from wsseg_cli.scaffold import KINDS, new_plugin

ROOT = Path(__file__).resolve().parents[3]
Call = Callable[..., "subprocess.CompletedProcess[str]"]


def folder_of(kind: str) -> str:
    return f"wsseg-my-{kind.replace('_', '-')}"


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a new package of every kind, all of them installed into its folder `site`."""
    folder = tmp_path_factory.mktemp("new")
    for kind in KINDS:
        new_plugin(f"my_{kind}", kind, folder)
    flags = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q"]
    sources = [str(folder / folder_of(kind)) for kind in KINDS]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(folder / "site"), *sources]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture
def python(written: Path) -> Call:
    """Return a function that runs a module of Python with the packages in sight."""
    path = os.pathsep.join([str(written / "site"), str(ROOT), str(ROOT / "plugins")])

    def call(*words: str, cwd: Path = written) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment)

    return call


@pytest.mark.slow
def test_is_listed(python: Call) -> None:
    done = python("wsseg_cli", "plugins", "list", "--strict", "--json")
    rows = {row["name"]: row for row in json.loads(done.stdout)["plugins"]}
    for kind in KINDS:
        assert (rows[f"my_{kind}"]["group"], rows[f"my_{kind}"]["state"]) == (f"{kind}s", "ok"), rows[f"my_{kind}"]


@pytest.mark.slow
def test_passes_its_own_tests(python: Call) -> None:
    folders = [f"{folder_of(kind)}/tests" for kind in KINDS]
    done = python("pytest", "-q", "-p", "no:cacheprovider", "--import-mode=importlib", *folders)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_runs_its_recipe(python: Call, tmp_path: Path, written: Path, kind: str) -> None:
    recipe = str(written / folder_of(kind) / f"my_{kind}_toy.yaml")
    short = ["--set", "train_cls.max_steps=10"]
    if kind == "segmenter":
        short += ["--set", "train_seg.max_steps=10"]
    if kind != "dataset":
        short += ["--set", "dataset.options.train=12", "--set", "dataset.options.val=4"]
    done = python("wsseg_cli", "run", "--recipe", recipe, *short, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "all background" in done.stdout
    assert (tmp_path / "runs" / f"my_{kind}_toy" / "report.html").is_file()


def test_command(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["plugins", "new", "mine", "--out", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert str(tmp_path / "wsseg-mine" / "wsseg_mine" / "method.py") in done.stdout.splitlines()
    assert "pip install -e" in done.stderr
    again = CliRunner().invoke(app, ["plugins", "new", "mine", "--out", str(tmp_path)])
    assert again.exit_code == 3 and "already exists" in again.stderr


@pytest.mark.parametrize("name", ["Mine", "1st", "a-b", "class", "", "a" * 41, "../x"])
def test_names_that_cannot_be(tmp_path: Path, name: str) -> None:
    with pytest.raises(PluginError, match="cannot name a plugin"):
        new_plugin(name, "method", tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_taken_names_and_wrong_kinds(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="already exists"):
        new_plugin("cam", "method", tmp_path)
    with pytest.raises(PluginError, match="no kind of plugin"):
        new_plugin("mine", "loader", tmp_path)
    with pytest.raises(PluginError, match="does not exist"):
        new_plugin("mine", "method", tmp_path / "none")


def test_what_is_written_is_in_order(written: Path) -> None:
    files = [str(path) for kind in KINDS for path in (written / folder_of(kind)).glob("wsseg_*/*.py")]
    rules = ["--isolated", "--line-length", "120", "--select", "E,F,W,UP,B,D1", "--ignore", "D107"]
    done = subprocess.run([sys.executable, "-m", "ruff", "check", *rules, *files], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", ["a", "mine", "a_rather_long_name_of_a_new_plugin", "a" * 40])
@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_passes_ruff_as_it_comes(tmp_path: Path, kind: str, name: str) -> None:
    new_plugin(name, kind, tmp_path)
    folder = next(tmp_path.iterdir())
    for words in (["check"], ["check", "--isolated"], ["format", "--check"], ["format", "--check", "--isolated"]):
        done = subprocess.run([sys.executable, "-m", "ruff", *words, "."], cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
