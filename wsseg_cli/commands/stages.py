"""The seven stages, a command each, and `run`, which does them in order."""

from __future__ import annotations

import shlex
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import console
from ..errors import WssegError
from ..recipe.sections import STAGES
from ..run.directory import PER_IMAGE
from ..stages import Context, Result, run_all, run_stage
from .options import (
    DryRunOpt,
    ForceOpt,
    JsonOpt,
    OverlaysOpt,
    QuietOpt,
    RecipeOpt,
    RunOpt,
    SetOpt,
    SplitOpt,
    TrustOpt,
    UseOpt,
    command_line,
    open_run,
)


class What(str, Enum):
    """What `eval` can evaluate."""

    cam = "cam"
    refine = "refine"
    pseudo = "pseudo"
    seg = "seg"


StageName = Enum("StageName", {name: name for name in STAGES}, type=str)  # type: ignore[misc]


def prepare(
    recipe: RecipeOpt,
    run: RunOpt = None,
    split: SplitOpt = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out broken images and write their names to prepare/bad.jsonl.")
    ] = False,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Read the data set, check every file, write the index and the data report."""
    context = open_run(recipe, run, set_, force=force, dry_run=dry_run, quiet=quiet, trust_data=trust_data)
    result = run_stage("prepare", context, split=split, skip_bad=skip_bad)
    _tell(result, context, as_json, recipe, run, set_)


def train_cls(
    recipe: RecipeOpt,
    run: RunOpt = None,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train the classifier from image-level labels; goes on from the last checkpoint."""
    context = open_run(recipe, run, set_, force=force, dry_run=dry_run, quiet=quiet, trust_data=trust_data)
    _tell(run_stage("train-cls", context), context, as_json, recipe, run, set_)


def cam(
    recipe: RecipeOpt,
    run: RunOpt = None,
    split: SplitOpt = None,
    overlays: OverlaysOpt = 0,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Compute class activation maps for the images of the train and score splits, or of --split."""
    context = open_run(recipe, run, set_, force=force, dry_run=dry_run, quiet=quiet, trust_data=trust_data)
    result = run_stage("cam", context, split=split, overlays=overlays)
    _tell(result, context, as_json, recipe, run, set_, split)


def refine(
    recipe: RecipeOpt,
    run: RunOpt = None,
    split: SplitOpt = None,
    use: UseOpt = None,
    overlays: OverlaysOpt = 0,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Refine score maps; trains the refiner first if it is one that learns."""
    context = open_run(recipe, run, set_, use, force=force, dry_run=dry_run, quiet=quiet, trust_data=trust_data)
    result = run_stage("refine", context, split=split, overlays=overlays)
    _tell(result, context, as_json, recipe, run, set_, split)


def pseudo(
    recipe: RecipeOpt,
    run: RunOpt = None,
    split: SplitOpt = None,
    use: UseOpt = None,
    overlays: OverlaysOpt = 0,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Turn score maps into pseudo-masks: background threshold or power, and a dense CRF if the recipe has one."""
    context = open_run(recipe, run, set_, use, force=force, dry_run=dry_run, quiet=quiet, trust_data=trust_data)
    result = run_stage("pseudo", context, split=split, overlays=overlays)
    _tell(result, context, as_json, recipe, run, set_, split)


def train_seg(
    recipe: RecipeOpt,
    run: RunOpt = None,
    use: UseOpt = None,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train the segmentation network on the pseudo-masks; goes on from the last checkpoint."""
    context = open_run(recipe, run, set_, use, force=force, dry_run=dry_run, quiet=quiet, trust_data=trust_data)
    _tell(run_stage("train-seg", context), context, as_json, recipe, run, set_)


def evaluate(
    recipe: RecipeOpt,
    run: RunOpt = None,
    what: Annotated[What | None, typer.Option("--what", help="Evaluate this alone; default: all there is.")] = None,
    split: SplitOpt = None,
    use: UseOpt = None,
    sweep: Annotated[bool, typer.Option("--sweep", help="Print the score of the maps at every threshold.")] = False,
    min_miou: Annotated[
        float | None, typer.Option("--min-miou", min=0, max=100, help="Exit 1 if an mIoU (in %) is lower.", metavar="X")
    ] = None,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Evaluate score maps, pseudo-masks and the network against the ground truth: one confusion matrix per split."""
    context = open_run(recipe, run, set_, use, force=force, dry_run=dry_run, quiet=quiet, trust_data=trust_data)
    chosen = what.value if what else None
    result = run_stage("eval", context, what=chosen, split=split, sweep=sweep, min_miou=min_miou)
    _tell(result, context, as_json, recipe, run, set_)


def run_command(
    recipe: RecipeOpt,
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
            help="Look first for all that would stop a later stage: folders, lists, variables, weights.",
        ),
    ] = True,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Run all stages that the recipe has, in order, then write the report; what is up to date is skipped."""
    context = open_run(recipe, run, set_, force=force, dry_run=dry_run, quiet=quiet, trust_data=trust_data)
    results = run_all(
        context,
        start.value if start else None,
        end.value if end else None,
        report=None if as_json else _lines,
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
    """Return what one wants of a run that has come so far: to look at it, and masks of other photos."""
    from ..plugin.protocols import Predictor

    recipe = context.recipe.recipe
    lines = [f"Next: open {report} in a browser"]
    stage = "train-seg" if recipe.train_seg is not None or recipe.train_cls is None else "train-cls"
    gives_masks = stage == "train-seg" or issubclass(context.recipe.plugin("train-cls")[0], Predictor)
    if gives_masks and context.run.done(stage) is not None:
        lines.append(f"      wsseg predict PHOTO… --model {shlex.quote(str(context.run.path))}")
    return lines


def _report(context: Context) -> Path | None:
    """Write the run's report and return its file; what stands in its way is said and spoils nothing."""
    from ..report import write_report

    try:
        return write_report([context.run.path])
    except WssegError as error:
        console.note(f"no report: {error}")
        return None


def _lines(result: Result) -> None:
    for line in result.lines:
        console.say(line)
    for line in result.notes:
        console.note(f"note: {line}")


def _tell(
    result: Result,
    context: Context,
    as_json: bool,
    recipe: str,
    run: Path | None,
    overrides: list[str] | None,
    split: str | None = None,
) -> None:
    """Print the result of one stage, and the command that comes next."""
    if as_json:
        console.say_json({"stage": result.stage, "run": str(context.run.path), "skipped": result.skipped} | result.data)
        return
    _lines(result)
    stages = context.recipe.recipe.stages
    after = stages[stages.index(result.stage) + 1 :]
    if context.quiet or context.dry_run:
        return
    if not after:
        console.note(f"Next: wsseg status {context.run.path}")
        return
    # another split goes on through the per-image stages alone: nothing is trained on it
    following = next((s for s in after if s in PER_IMAGE or s == "eval"), after[0]) if split else after[0]
    more = ("--split", split) if split else ()
    console.note(f"Next: {command_line(following, recipe, run, overrides, *more)}")


def register(app: typer.Typer) -> None:
    """Put the seven stages and `run` on the command line."""
    commands: dict[str, tuple[Any, str, str]] = {
        "prepare": (prepare, "Read the data set, write the index.", "prepare --recipe quickstart"),
        "train-cls": (
            train_cls,
            "Train the classifier from image-level labels.",
            "train-cls --recipe quickstart --set runtime.tracker=tensorboard",
        ),
        "cam": (cam, "Compute class activation maps.", "cam --recipe quickstart --overlays 20"),
        "refine": (refine, "Refine score maps.", "refine --recipe my.yaml --use cam=other/cams"),
        "pseudo": (pseudo, "Turn score maps into pseudo-masks.", "pseudo --recipe quickstart --split val"),
        "train-seg": (
            train_seg,
            "Train the segmentation network.",
            "train-seg --recipe quickstart --run runs/second",
        ),
        "eval": (evaluate, "Evaluate maps, masks and network.", "eval --recipe quickstart --what cam --sweep"),
        "run": (run_command, "Run all stages of a recipe.", "run --recipe quickstart --to pseudo"),
    }
    for name, (function, short, example) in commands.items():
        app.command(name, short_help=short, epilog=f"Example: wsseg {example}")(function)
