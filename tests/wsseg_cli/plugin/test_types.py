"""The contract speaks types: mypy refuses an option, a key and a layer that are not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

MISUSE = """
from torch import nn
from wsseg_cli.plugin import Method, PluginOptions
from wsseg_cli.recipe.loading import LoadedRecipe
from wsseg_cli.stages import Context


class Options(PluginOptions):
    tau: float = 0.4


class Net(nn.Module):
    pass


class Mine(Method[Options, Net]):
    def share(self) -> float:
        return self.options.tauu


def size(context: Context, recipe: LoadedRecipe) -> int:
    right: float = Mine(Options(), recipe.recipe.name).options.tau
    return context.recipe.section("train-cls").bach_size + context.recipe.section("cam").store_strid
"""


@pytest.mark.slow
def test_mypy_finds_what_is_misspelt(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    file = tmp_path / "misuse.py"
    file.write_text(MISUSE, encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--cache-dir",
        str(tmp_path / "cache"),
        "--config-file",
        str(ROOT / "pyproject.toml"),
    ]
    done = subprocess.run([*command, str(file)], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1, done.stdout + done.stderr
    for words in (
        '"Options" has no attribute "tauu"; maybe "tau"?',
        'has no attribute "bach_size"',
        '"CamSettings" has no attribute "store_strid"; maybe "store_stride"?',
        'Argument 2 to "Mine" has incompatible type "str"; expected "ClassNames"',
    ):
        assert words in done.stdout, done.stdout
