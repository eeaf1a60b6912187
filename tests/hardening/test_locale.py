"""A console that knows neither UTF-8 nor the letters of a path: commands say what they can, files are UTF-8."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from end_to_end.layouts import LAYOUTS

from hardening.forks import PATHS

LOCALES = {
    "Latin-1 on stdout": {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1"},
    "Latin-1 on stdout, no UTF-8 mode": {"LC_ALL": "C", "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "0"},
    "ASCII": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
}


@pytest.mark.parametrize("locale", LOCALES)
def test_letters_that_the_console_does_not_know(tmp_path: Path, locale: str) -> None:
    home = tmp_path / "größe 日本"
    home.mkdir()
    table, out = home / "bilder ñ.csv", home / "über.jsonl"
    table.write_text("image,labels\nä日.jpg,hündin;猫\n", encoding="utf-8")
    recipe = home / "rezept é.yaml"
    recipe.write_text(LAYOUTS["voc"](tmp_path / "data").recipe(), encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHON"))}
    environment |= LOCALES[locale] | {"PYTHONPATH": os.pathsep.join(PATHS)}

    def run(*words: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "wsseg_cli", *words]
        done = subprocess.run(command, env=environment, cwd=home, capture_output=True)
        assert b"Traceback" not in done.stderr and b"UnicodeEncodeError" not in done.stderr
        return done

    converted = run("convert", "labels", str(table), str(out))
    assert converted.returncode == 0 and b"1 images" in converted.stdout
    assert json.loads(out.read_text(encoding="utf-8")) == {"image": "ä日", "labels": ["hündin", "猫"]}
    assert b"is valid" in run("recipes", "check", str(recipe)).stdout
    missing = run("prepare", "--recipe", str(home / "nicht dä.yaml"))
    assert missing.returncode == 2 and missing.stderr.startswith(b"error: no recipe")


def test_a_path_that_this_python_cannot_have(tmp_path: Path) -> None:
    home = tmp_path / "größe"
    recipe = tmp_path / "own.yaml"
    text = LAYOUTS["folder, CSV"](home / "data").recipe()
    recipe.write_text(json.dumps(yaml.safe_load(text), ensure_ascii=False), encoding="utf-8")

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[bytes]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG", "PYTHON"))}
        environment |= {"PYTHONPATH": os.pathsep.join(PATHS)} | LOCALES["ASCII"] | more
        command = [sys.executable, "-m", "wsseg_cli", *words, "--recipe", str(recipe)]
        return subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True)

    refused = run("prepare")
    assert refused.returncode != 0 and b"Traceback" not in refused.stderr
    assert b"`export PYTHONUTF8=1` and run the command again" in refused.stderr
    assert run("prepare", PYTHONUTF8="1").returncode == 0
