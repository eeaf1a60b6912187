"""A built-in recipe in one line: method, supervision, stages, what it needs. No plugin is imported."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from ..plugin.discovery import find
from ..plugin.inspection import requirements_seen
from ..plugin.protocols import Requirements, stated
from ..types import Json
from ..weights import by_name
from . import loading as recipes
from .sections import PluginChoice, Recipe


@dataclass(frozen=True)
class Card:
    """One built-in recipe; `needs` are environment variables, `weights` names of start weights."""

    name: str
    method: str
    supervision: str
    stages: tuple[str, ...]
    needs: tuple[str, ...]
    weights: tuple[str, ...]
    description: str

    def as_dict(self) -> Json:
        """Return it as plain data."""
        return asdict(self)


def cards() -> list[Card]:
    """Return a card of every built-in recipe, by name."""
    return [card(file, description) for file, description in recipes.builtin()]


def card(file: Path, description: str = "") -> Card:
    """Return the card of one recipe.

    Raises:
        RecipeError: the recipe is not valid.
    """
    text = file.read_text(encoding="utf-8")
    recipe = recipes.load(file).recipe
    return Card(
        name=file.stem,
        method=recipe.train_cls.method.name if recipe.train_cls else "-",
        supervision=supervision(recipe),
        stages=recipe.stages,
        needs=tuple(dict.fromkeys(re.findall(r"\$\{(\w+)\}", _without_comments(text)))),
        weights=named_weights(recipe),
        description=description,
    )


def named_weights(recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the start weights that the trainings of a recipe ask for, each once."""
    trainings = (recipe.train_cls, recipe.refine.train if recipe.refine else None, recipe.train_seg)
    return tuple(dict.fromkeys(t.weights for t in trainings if t is not None and by_name(t.weights)))


def supervision(recipe: Recipe) -> str:
    """Return what a recipe learns from: I image labels, S saliency maps, F pixel masks."""
    if recipe.train_seg is not None and recipe.train_seg.masks == "ground_truth":
        return "F"
    if recipe.train_cls is None:
        return "-"
    asked = [_asked("methods", recipe.train_cls.method)]
    if recipe.refine is not None:
        asked += [_asked("refiners", one) for one in recipe.refine.chain]
    extras: set[str] = set()
    for requirements in asked:
        if requirements is None:
            return "?"
        extras |= requirements.extras
    by_hand = recipe.train_seg is not None and recipe.train_seg.masks == "corrected"
    return stated(extras) + (", hand masks" if by_hand else "")


def _asked(group: str, choice: PluginChoice) -> Requirements | None:
    target = _targets().get((group, choice.name))
    return requirements_seen(target, choice.options) if target else None


@cache  # many recipes name one plugin, and each query of the installed packages reads their metadata
def _targets() -> dict[tuple[str, str], str]:
    """Return the entry points of all plugins by group and name; of two with the same name, the built-in one."""
    return {(plugin.group, plugin.name): plugin.target for plugin in reversed(find())}


def _without_comments(text: str) -> str:
    return "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
