"""The seven stages, one command each."""

from __future__ import annotations

from enum import Enum
from typing import Annotated, Any

import typer

from ..errors import CheckFailed
from ..stages import run_stage
from ..stages.bars import parse_bars
from .options import (
    DryRunOpt,
    ForceOpt,
    JsonOpt,
    OverlaysOpt,
    QuietOpt,
    RecipeOpt,
    RunOpt,
    SetOpt,
    SkipMissingOpt,
    SplitOpt,
    TrustOpt,
    UseOpt,
    open_run,
)
from .telling import tell
from .whole_run import run_command


class What(str, Enum):
    """What `eval` can evaluate."""

    cam = "cam"
    refine = "refine"
    pseudo = "pseudo"
    seg = "seg"


def prepare(
    recipe: RecipeOpt = None,
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
    tell(result, context, as_json, recipe, run, set_)


def train_cls(
    recipe: RecipeOpt = None,
    run: RunOpt = None,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train the classifier from image-level labels; resumes from the last checkpoint."""
    context = open_run(recipe, run, set_, force=force, dry_run=dry_run, quiet=quiet, trust_data=trust_data)
    tell(run_stage("train-cls", context), context, as_json, recipe, run, set_)


def cam(
    recipe: RecipeOpt = None,
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
    tell(result, context, as_json, recipe, run, set_, split)


def refine(
    recipe: RecipeOpt = None,
    run: RunOpt = None,
    split: SplitOpt = None,
    use: UseOpt = None,
    skip_missing: SkipMissingOpt = False,
    overlays: OverlaysOpt = 0,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Refine score maps; trains the refiner first if it has to be trained."""
    context = open_run(
        recipe,
        run,
        set_,
        use,
        force=force,
        dry_run=dry_run,
        quiet=quiet,
        trust_data=trust_data,
        skip_missing=skip_missing,
    )
    result = run_stage("refine", context, split=split, overlays=overlays)
    tell(result, context, as_json, recipe, run, set_, split)


def pseudo(
    recipe: RecipeOpt = None,
    run: RunOpt = None,
    split: SplitOpt = None,
    use: UseOpt = None,
    skip_missing: SkipMissingOpt = False,
    overlays: OverlaysOpt = 0,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Turn score maps into pseudo-masks: background threshold or power, and a dense CRF if the recipe has one."""
    context = open_run(
        recipe,
        run,
        set_,
        use,
        force=force,
        dry_run=dry_run,
        quiet=quiet,
        trust_data=trust_data,
        skip_missing=skip_missing,
    )
    result = run_stage("pseudo", context, split=split, overlays=overlays)
    tell(result, context, as_json, recipe, run, set_, split)


def train_seg(
    recipe: RecipeOpt = None,
    run: RunOpt = None,
    use: UseOpt = None,
    skip_missing: SkipMissingOpt = False,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Train the segmentation network on the pseudo-masks; resumes from the last checkpoint."""
    context = open_run(
        recipe,
        run,
        set_,
        use,
        force=force,
        dry_run=dry_run,
        quiet=quiet,
        trust_data=trust_data,
        skip_missing=skip_missing,
    )
    tell(run_stage("train-seg", context), context, as_json, recipe, run, set_)


def evaluate(
    recipe: RecipeOpt = None,
    run: RunOpt = None,
    what: Annotated[
        What | None, typer.Option("--what", help="Evaluate only this; default: everything that exists.")
    ] = None,
    split: SplitOpt = None,
    use: UseOpt = None,
    skip_missing: SkipMissingOpt = False,
    sweep: Annotated[bool, typer.Option("--sweep", help="Print the score of the maps at every threshold.")] = False,
    min_miou: Annotated[
        str | None,
        typer.Option(
            "--min-miou",
            help="Exit 1, after all is printed, if an mIoU (in %) is lower; cam=40,seg=30 sets a bar for each.",
            metavar="X",
        ),
    ] = None,
    set_: SetOpt = None,
    force: ForceOpt = False,
    trust_data: TrustOpt = False,
    dry_run: DryRunOpt = False,
    as_json: JsonOpt = False,
    quiet: QuietOpt = False,
) -> None:
    """Evaluate score maps, pseudo-masks and the network against the ground truth: one confusion matrix per split."""
    context = open_run(
        recipe,
        run,
        set_,
        use,
        force=force,
        dry_run=dry_run,
        quiet=quiet,
        trust_data=trust_data,
        skip_missing=skip_missing,
    )
    chosen = what.value if what else None
    bars = parse_bars(min_miou) if min_miou is not None else None
    result = run_stage("eval", context, what=chosen, split=split, sweep=sweep, min_miou=bars)
    tell(result, context, as_json, recipe, run, set_)
    if result.failure:
        raise CheckFailed(result.failure)


def register(app: typer.Typer) -> None:
    """Add the seven stages and `run` to the command line."""
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
