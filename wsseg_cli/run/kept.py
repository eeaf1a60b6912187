"""The recipe that a run keeps: read when a command is given none, and compared with the one that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .. import __version__
from ..disk.reading import read_text
from ..disk.writing import write_text
from ..errors import RecipeError
from ..recipe import yaml_core
from ..recipe.loading import LoadedRecipe, load

KEPT = "recipe.yaml"
"""The file of a run that holds its recipe, as it was last used."""


def kept_recipe(run: Path, overrides: Sequence[str] = ()) -> LoadedRecipe:
    """Return the recipe that a run keeps, with overrides as --set gives them.

    Raises:
        RecipeError: the folder holds no recipe, or one that is not valid.
    """
    if not (run / KEPT).is_file():
        raise RecipeError(f"{run} is not a run: it holds no {KEPT}; `--recipe NAME` begins one there")
    return load(run / KEPT, overrides, old_names=True)


def keep_recipe(run: Path, recipe: LoadedRecipe) -> None:
    """Write the recipe that a run keeps, unless it is there as it is."""
    head = f"# The resolved recipe of this run, for people; read from {recipe.path.name}, wsseg {__version__}.\n"
    text = head + yaml_core.dump(recipe.recipe.model_dump(mode="json"))
    path = run / KEPT
    # of a recipe that is the run's own, the head still says where it came from
    if not path.is_file() or (_text_of(path) or "").partition("\n")[2] != text.partition("\n")[2]:
        write_text(path, text)


def _text_of(path: Path) -> str | None:
    """Return the text of a file of ours; None if it cannot be read as such."""
    try:
        return read_text(path, 64 << 20)
    except (OSError, UnicodeDecodeError):
        return None
