"""Every recipe in the tree is valid, says what it is in its first line, and is named like its file."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsseg_cli.plugin.protocols import stated
from wsseg_cli.recipe import catalogue
from wsseg_cli.recipe import loading as recipe

RECIPES = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("*.yaml"))


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipe_is_valid_with_its_plugins(file: Path) -> None:
    assert recipe.check(file) == []
    loaded = recipe.load(file)
    assert loaded.recipe.name == file.stem


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipe_says_what_it_is(file: Path) -> None:
    lines = file.read_text(encoding="utf-8").split("\n")
    assert lines[0].startswith("# ") and len(lines[0]) > 20, "the first line is the description in `recipes list`"
    card = catalogue.card(file)
    # a recipe that starts from masks made elsewhere has no classifier: its head names the stages with --use
    command = "wsseg run" if card.method != "-" or card.supervision == "F" else "wsseg train-seg"
    assert f"{command} --recipe {file.stem}" in "\n".join(lines[:25]), "the head names the command"
    assert card.supervision in ("I", "I+S", "F") or card.method == "-"
    if card.method != "-":  # read from the plugins' sources; the plugins themselves say the same
        asked = recipe.load(file).requirements().values()
        assert card.supervision == stated(set().union(*(one.extras for one in asked)))


def test_there_are_recipes() -> None:
    assert "quickstart" in [file.stem for file in RECIPES]
    assert [file for file, _ in recipe.builtin()] == RECIPES


@pytest.mark.parametrize("file", RECIPES, ids=lambda file: file.stem)
def test_recipe_says_where_saliency_comes_from(file: Path) -> None:
    text = file.read_text(encoding="utf-8")
    assert ("_SALIENCY" not in text) or "docs/own-data.md" in text.split("\nname:")[0]
