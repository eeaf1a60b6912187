from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from wsseg_cli.commands.hints import made_whole

SAID = "x/cam is missing: run `wsseg cam --split val` first"


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ([], "`wsseg cam --split val`"),
        (["pseudo", "--run", "my run"], "`wsseg cam --split val --run 'my run'`"),
        (["pseudo", "-r", "a.yaml", "--set=seed=1", "--force"], "`wsseg cam --split val -r a.yaml --set=seed=1`"),
        (["pseudo", "--run"], "`wsseg cam --split val --run`"),
        (["rank", "nowhere"], "`wsseg cam --split val`"),
    ],
)
def test_a_hint_takes_the_recipe_and_the_run_of_the_command(arguments: list[str], hint: str) -> None:
    assert made_whole(SAID, arguments) == SAID.replace("`wsseg cam --split val`", hint)


def test_a_run_by_its_folder_joins_unless_there_are_two(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "recipe.yaml").touch()
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    assert f"`wsseg cam --split val --run {one}`" in made_whole(SAID, ["rank", one, "--list"])
    assert made_whole(SAID, ["rank", one, "--against", two]) == SAID


def test_folders_join_the_stages_that_take_them() -> None:
    typed = ["eval", "--run", "here", "--use", "cam=maps"]
    assert made_whole("`wsseg pseudo` first", typed) == "`wsseg pseudo --run here --use cam=maps` first"
    assert made_whole("`wsseg prepare` first", typed) == "`wsseg prepare --run here` first"


def test_arguments_that_cannot_be_paths_are_no_runs() -> None:
    assert made_whole(SAID, ["predict", "x" * 5000, "a\0b"]) == SAID


def test_hints_that_name_a_recipe_or_are_of_other_commands_stay() -> None:
    said = "`wsseg run --recipe quickstart` makes one, `wsseg plugins list` shows all"
    assert made_whole(said, ["cam", "--run", "here"]) == said


def test_the_printed_hint_can_be_typed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = [sys.executable, "-m", "wsseg_cli", "cam", "--recipe", "quickstart", "--run", str(run)]
    asked = subprocess.run(words, capture_output=True, text=True, check=False)
    assert f"run `wsseg prepare --recipe quickstart --run {run}` first" in asked.stderr
