"""Options shared by several commands, and opening the run that they describe."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from .. import console
from ..errors import RecipeError, WssegError
from ..recipe import loading as recipes
from ..recipe.problems import model_in
from ..recipe.sections import STAGES, Recipe
from ..run.directory import RunDir
from ..run.kept import kept_recipe
from ..runlog import open_log
from ..stages import Context

_log = logging.getLogger(__name__)


def recipe_names(incomplete: str) -> list[str]:
    """Return the built-in recipes and local YAML files with this prefix, for shell completion."""
    names = [file.stem for file, _ in recipes.builtin()] + [str(file) for file in Path().glob("*.yaml")]
    return sorted(name for name in names if name.startswith(incomplete))


def run_names(incomplete: str) -> list[str]:
    """Return the runs under runs/ with this prefix, for shell completion."""
    return sorted(str(path.parent) for path in Path("runs").glob("*/recipe.yaml") if str(path).startswith(incomplete))


def recipe_keys(ctx: typer.Context, incomplete: str) -> list[str]:
    """Return the recipe keys with this prefix, as --set takes them, for shell completion; sections end in a dot.

    Plugin options are those of the plugins in the command's recipe. A section that is the only match is expanded.
    """
    keys = {*_keys(Recipe, ""), *_given_keys(ctx.params.get("recipe"))}
    keys -= {f"{key[:-1]}=" for key in keys if key.endswith(".")}

    def below(start: str) -> list[str]:
        found = (key for key in keys if key.startswith(start) and key != start)
        return sorted(key for key in found if "." not in key[len(start) : -1])

    found = below(incomplete)
    while len(found) == 1 and found[0].endswith("."):
        found = below(found[0])
    return found


def _given_keys(recipe: str | None) -> Iterator[str]:
    if recipe is None:
        return
    try:
        data = recipes.load(recipe).document.data
    except WssegError:
        return

    def walk(values: Mapping[str, Any], head: str) -> Iterator[str]:
        for name, value in values.items():
            inner = isinstance(value, Mapping)
            yield f"{head}{name}{'.' if inner else '='}"
            if inner:
                yield from walk(value, f"{head}{name}.")

    yield from walk(data, "")


def _keys(model: type[BaseModel], head: str) -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = model_in(field.annotation)
        yield f"{head}{name}{'=' if inner is None else '.'}"
        if inner is not None:
            yield from _keys(inner, f"{head}{name}.")


RecipeOpt = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        help="A recipe: a YAML file, or a built-in name (`wsseg recipes list`); default: the one that --run keeps.",
        autocompletion=recipe_names,
        metavar="NAME|PATH",
    ),
]
RunOpt = Annotated[
    Path | None,
    typer.Option(
        "--run",
        "--run-dir",
        help="Directory of the run; default: runs/NAME. (Under torchrun use the long form.)",
        file_okay=False,
        autocompletion=run_names,
        metavar="DIR",
    ),
]
SetOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        help="Override one value of the recipe, such as seed=1; repeatable.",
        metavar="KEY=VALUE",
        autocompletion=recipe_keys,
    ),
]
ForceOpt = Annotated[bool, typer.Option("--force", help="Discard existing results and compute them again.")]
DryRunOpt = Annotated[bool, typer.Option("--dry-run", help="Print what would be done without doing it.")]
JsonOpt = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of lines.")]
QuietOpt = Annotated[bool, typer.Option("--quiet", "-q", help="Print results only, without progress or remarks.")]
SplitOpt = Annotated[
    str | None, typer.Option("--split", help="Work on this split instead of the recipe's.", metavar="NAME")
]
UseOpt = Annotated[
    list[str] | None,
    typer.Option(
        "--use",
        help="A folder of files in place of an earlier stage's, such as cam=DIR; repeatable.",
        metavar="STAGE=DIR",
    ),
]
TrustOpt = Annotated[
    bool, typer.Option("--trust-data", help="Do not check that the data are still those that prepare read.")
]
SkipMissingOpt = Annotated[
    bool, typer.Option("--skip-missing", help="Leave out images whose input file is missing, and say how many.")
]
OverlaysOpt = Annotated[
    int, typer.Option("--overlays", min=0, help="Also draw the first N over their photos.", metavar="N")
]


def open_run(
    recipe: str | None,
    run: Path | None,
    overrides: Sequence[str] | None,
    use: Sequence[str] | None = None,
    **flags: Any,
) -> Context:
    """Return the context of a command: the recipe validated, the run opened, nothing written.

    recipe: None means the one that the run keeps.

    Raises:
        RecipeError: the recipe or --use cannot be followed, or neither a recipe nor a run is given.
    """
    if recipe is None and run is None:
        raise RecipeError("Missing option '--recipe' / '-r', or '--run' with a run that is there: it keeps its recipe")
    loaded = (
        kept_recipe(run, overrides or ()) if recipe is None and run else recipes.load(recipe or "", overrides or ())
    )
    folders: dict[str, Path] = {}
    for text in use or ():
        stage, sign, folder = text.partition("=")
        if not sign or stage not in STAGES or not folder:
            raise RecipeError(f"--use {text!r}: expected STAGE=DIR, such as cam=DIR; stages are {', '.join(STAGES)}")
        if stage in folders:
            raise RecipeError(f"--use {stage} occurs twice")
        folders[stage] = Path(folder)
    directory = run if run is not None else Path("runs") / loaded.recipe.name
    opened = RunDir(directory, loaded, folders)
    if not flags.get("dry_run") and console.is_main_process():
        open_log(directory)
    _log.debug("recipe %s, run %s", loaded.path, directory)
    flags["quiet"] = flags.get("quiet", False) or console.quiet()
    return Context(opened, loaded, **flags)


def command_line(
    command: str, recipe: str | None, run: Path | None, overrides: Sequence[str] | None, *more: str
) -> str:
    """Return a command as typed for the same recipe, run and overrides."""
    words = ["wsseg", command, *(["--recipe", recipe] if recipe is not None else [])]
    words += ["--run", str(run)] if run is not None else []
    words += [word for text in overrides or () for word in ("--set", text)]
    return shlex.join([*words, *more])
