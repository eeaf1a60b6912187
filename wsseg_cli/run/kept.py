"""The recipe that a run keeps: read when a command is given none, and compared with the one that it is given."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..errors import RecipeError
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
