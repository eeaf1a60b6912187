"""wsseg status and wsseg doctor: the state of runs, and of this machine."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from .. import console
from ..doctor import examine
from ..errors import CheckFailed, RecipeError
from ..status import open_existing, status, working
from .options import JsonOpt, SetOpt, recipe_names, run_names

RunsArg = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[RUN]…", help="Runs; default: all under runs/.", autocompletion=run_names),
]
OtherRecipeOpt = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        "-r",
        help="Compare with this recipe instead of the one that the run last used.",
        metavar="NAME|PATH",
        autocompletion=recipe_names,
    ),
]


def status_command(
    runs: RunsArg = None, recipe: OtherRecipeOpt = None, set_: SetOpt = None, as_json: JsonOpt = False
) -> None:
    """Show how far runs are, one line per stage: done, partial, stale (and which key changed), missing."""
    chosen = list(runs or sorted(path.parent for path in Path("runs").glob("*/recipe.yaml")))
    if not chosen:
        raise RecipeError("no run under runs/; `wsseg run --recipe quickstart` makes one")
    shown = []
    for path in chosen:
        if recipe is None and not (path / "recipe.yaml").is_file():
            raise RecipeError(f"{path} is not a run: it has no recipe.yaml")
        run = open_existing(path, recipe, set_)
        lines, busy = status(run), working(run)
        shown.append(
            {
                "run": str(path),
                "recipe": run.recipe.recipe.name,
                "working": busy or None,
                "stages": [asdict(line) for line in lines],
            }
        )
        if not as_json:
            console.say(f"{path}{f'  ({busy} works here)' if busy else ''}")
            rows = [(line.stage, line.state, "; ".join([line.detail, *line.notes]).strip("; ")) for line in lines]
            console.say("  " + console.table(rows).replace("\n", "\n  "))
    if as_json:
        console.say_json({"runs": shown})


def doctor(as_json: JsonOpt = False) -> None:
    """Check versions, devices, CRF backends, plugins and caches; name one fix per problem; exit 1 if there is any."""
    findings = examine()
    problems = [finding for finding in findings if finding.level == "PROBLEM"]
    if as_json:
        console.say_json({"findings": [asdict(finding) for finding in findings], "problems": len(problems)})
    else:
        rows = [(f.topic, f.name, f.level, f.what) for f in findings]
        console.say(console.table(rows))
    if problems:
        lines = [f"{f.topic} {f.name}: {f.what}\n    fix: {f.fix}" for f in problems]
        count = f"{len(problems)} problem{'' if len(problems) == 1 else 's'}"
        raise CheckFailed("\n  ".join([count, *lines]))


def register(app: typer.Typer) -> None:
    """Add `status` and `doctor` to the command line."""
    app.command("status", short_help="Show how far runs are.", epilog="Example: wsseg status runs/quickstart")(
        status_command
    )
    app.command("doctor", short_help="Check this machine and installation.", epilog="Example: wsseg doctor --json")(
        doctor
    )
