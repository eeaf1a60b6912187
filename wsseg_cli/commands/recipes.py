"""wsseg recipes: list, show, copy, check."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import console
from ..disk.writing import write_text
from ..errors import CheckpointError, DataError, RecipeError
from ..recipe import catalogue, yaml_core
from ..recipe import loading as recipes
from .options import JsonOpt, SetOpt, recipe_names

if TYPE_CHECKING:
    from ..stages.preflight import Finding

app = typer.Typer(help="Built-in recipes: list, show, copy, check.", no_args_is_help=True, rich_markup_mode=None)

NameArg = Annotated[
    str, typer.Argument(metavar="NAME|PATH", help="A built-in recipe or a file.", autocompletion=recipe_names)
]


@app.command("list", epilog="Example: wsseg recipes list")
def list_(as_json: JsonOpt = False) -> None:
    """List the built-in recipes: method, supervision (I image labels, S saliency), stages, what they need."""
    cards = catalogue.cards()
    if as_json:
        console.say_json({"recipes": [card.as_dict() for card in cards]})
        return
    rows = [
        (c.name, c.method, c.supervision, " ".join(c.stages), " ".join((*c.needs, *c.weights)), c.description)
        for c in cards
    ]
    console.say(console.table(rows, ("recipe", "method", "from", "stages", "needs", "")))
    console.note("Next: wsseg recipes copy NAME my.yaml")


@app.command("show", epilog="Example: wsseg recipes show quickstart")
def show(name: NameArg) -> None:
    """Print a recipe as it is in its file."""
    console.say(recipes.locate(name).read_text(encoding="utf-8").rstrip("\n"))


@app.command("copy", epilog="Example: wsseg recipes copy cam_folder photos.yaml")
def copy(
    name: NameArg,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite an existing file.")] = False,
) -> None:
    """Copy a recipe to a file of your own, to edit it; its `name`, and so its run, follows the file's name."""
    source = recipes.locate(name)
    target = to / source.name if to.is_dir() else to
    if target.suffix != ".yaml":
        raise RecipeError(f"{target}: a copy must be called *.yaml")
    if target.exists() and not force:
        raise RecipeError(f"{target} already exists; choose another name or add --force")
    if not target.parent.is_dir():
        raise RecipeError(f"the folder {target.parent} does not exist")
    # otherwise an edited copy would share the run folder of the original, which refuses other settings
    name = yaml_core.dump(target.stem).splitlines()[0]
    text = re.sub(r"^name:.*$", lambda _: f"name: {name}", source.read_text(encoding="utf-8"), count=1, flags=re.M)
    write_text(target, text)
    console.say(str(target))
    console.note(f"Next: edit it, then wsseg recipes check {target}")


@app.command("check", epilog="Example: wsseg recipes check my.yaml")
def check(
    names: Annotated[
        list[str], typer.Argument(metavar="NAME|PATH…", help="Recipes to check.", autocompletion=recipe_names)
    ],
    files: Annotated[
        bool,
        typer.Option(
            "--files",
            help="Also check environment variables, folders, lists and weights, as `wsseg run` does first; exit 6 "
            "if weights are wrong, 4 if data is.",
        ),
    ] = False,
    set_: SetOpt = None,
    as_json: JsonOpt = False,
) -> None:
    """Validate recipes, including the options of their plugins and their networks; exit 2 if anything is wrong."""
    looked = {name: _look(name, set_ or (), files) for name in names}
    found = {name: problems for name, (problems, _) in looked.items()}
    if as_json:
        console.say_json({"recipes": [{"recipe": name, "problems": problems} for name, problems in found.items()]})
    bad = {name: problems for name, problems in found.items() if problems}
    if bad:
        kinds = {finding.kind for _, findings in looked.values() for finding in findings}
        failed = next((kind for kind in (CheckpointError, DataError) if kind in kinds), RecipeError)
        raise failed("\n".join("\n  ".join([f"{name}: {_count(p)}", *p]) for name, p in bad.items()))
    if not as_json:
        for name in names:
            console.say(f"{name} is valid")
        console.note(f"Next: wsseg run --recipe {names[0]}")


def _look(name: str, overrides: Sequence[str], files: bool) -> tuple[list[str], list[Finding]]:
    """Return what is wrong with a recipe as lines, and the findings on its sections if they fit together."""
    from ..stages.preflight import Preflight, lines

    try:
        recipe = recipes.load(name, overrides)
    except RecipeError as error:
        try:
            return recipes.check(name, overrides), []
        except RecipeError:
            return str(error).split("\n"), []
    look = Preflight(recipe, work=Path("runs") / recipe.recipe.name / "prepare" / "data")
    if files:
        look.files()
    return lines(look.found, recipe), look.found


def _count(problems: list[str]) -> str:
    return f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
