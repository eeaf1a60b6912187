"""wsseg run: all stages of a recipe in order, then the report."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from .. import console
from ..errors import WssegError
from ..recipe.sections import STAGES
from ..stages import Context, run_all
from .options import DryRunOpt, ForceOpt, JsonOpt, QuietOpt, RecipeOpt, RunOpt, SetOpt, TrustOpt, open_run
from .telling import tell_lines, tell_notes

StageName = Enum("StageName", {name: name for name in STAGES}, type=str)  # type: ignore[misc]


def run_command(
    recipe: RecipeOpt = None,
    run: RunOpt = None,
    start: Annotated[StageName | None, typer.Option("--from", help="First stage to run.")] = None,
    end: Annotated[StageName | None, typer.Option("--to", help="Last stage to run.")] = None,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    preflight: Annotated[
        bool,
        typer.Option(
            "--preflight/--no-preflight",
            help="Check first for anything that would stop a later stage: folders, lists, variables, weights.",
        ),
    ] = True,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Run all stages of the recipe in order, then write the report; stages that are up to date are skipped."""
    context = open_run(recipe, run, set_, force=force, dry_run=dry_run, quiet=quiet, trust_data=trust_data)
    results = run_all(
        context,
        start.value if start else None,
        end.value if end else None,
        report=tell_notes if as_json else tell_lines,
        preflight=preflight,
    )
    written = None if dry_run or not console.is_main_process() else _report(context)
    if as_json:
        stages = [{"stage": result.stage, "skipped": result.skipped} | result.data for result in results]
        console.say_json({"run": str(context.run.path), "stages": stages, "report": written and str(written)})
        return
    if written is not None:
        console.say(f"report     {written}")
    if written is not None and not context.quiet:
        console.note("\n".join(_next_after_run(context, written)))


def _next_after_run(context: Context, report: Path) -> list[str]:
    """Return suggestions for a run that has got this far: open the report, and predict masks of other photos."""
    from ..plugin.protocols import Predictor

    recipe = context.recipe.recipe
    lines = [f"Next: open {report} in a browser"]
    stage = "train-seg" if recipe.train_seg is not None or recipe.train_cls is None else "train-cls"
    gives_masks = stage == "train-seg" or issubclass(context.recipe.plugin("train-cls")[0], Predictor)
    if gives_masks and context.run.done(stage) is not None:
        lines.append(f"      wsseg predict PHOTO… --model {shlex.quote(str(context.run.path))}")
    return lines


def _report(context: Context) -> Path | None:
    """Write the run's report and return its file; an error is reported, but does not fail the run."""
    from ..report import write_report

    try:
        return write_report([context.run.path])
    except WssegError as error:
        console.note(f"no report: {error}")
        return None
