"""The seven stages, one function each; what surrounds every stage; running them in order. No torch at import."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import StageError, WssegError
from ..recipe.loading import LoadedRecipe
from ..recipe.sections import STAGES
from ..run.directory import RunDir, State
from ..types import Json

MODULES = {stage: stage.replace("-", "_") for stage in STAGES} | {"eval": "evaluate"}
"""Module of each stage."""


@dataclass(frozen=True)
class Context:
    """What a stage is run with: the run, its recipe, the command-line flags, and remarks to print."""

    run: RunDir
    recipe: LoadedRecipe
    force: bool = False
    dry_run: bool = False
    quiet: bool = False
    trust_data: bool = False
    skip_missing: bool = False
    notes: list[str] = field(default_factory=list)

    @property
    def prepared(self) -> Path:
        """The folder of the index."""
        return self.run.folder("prepare")


@dataclass(frozen=True)
class Result:
    """The result of a stage: lines for people, data for programs, whether it was done already, remarks.

    failure: why a requested check failed; the numbers are there nevertheless.
    """

    stage: str
    lines: list[str] = field(default_factory=list)
    data: Json = field(default_factory=dict)
    skipped: bool = False
    notes: tuple[str, ...] = ()
    failure: str = ""


def run_stage(name: str, context: Context, **options: Any) -> Result:
    """Run one stage, or find it up to date.

    options: those of the stage's command: `split`, `overlays`, `skip_bad`, `what`, `sweep`, `min_miou`.

    Raises:
        WssegError: anything that a user can fix.
    """
    stage = import_module(f".{MODULES[name]}", __package__)
    context.recipe.section(name)
    if context.dry_run:
        state = context.run.look(name, force=context.force)
        if context.run.done("prepare") and not context.force:
            from .prepared import refuse_changes

            refuse_changes(context, refresh=False)
        said = {"new": "would run", "continue": "would continue", "done": "is up to date"}[state]
        return Result(name, [f"{name} {said}"], {"state": state})
    with _locked(context):
        result: Result = stage.run(context, **options)
        _describe(context, result)
    notes = tuple(context.notes)
    context.notes.clear()
    return replace(result, notes=notes)


def _describe(context: Context, result: Result) -> None:
    """Write the cards of the run's networks after a stage that made or evaluated one."""
    from ..engine import processes

    if result.stage in ("train-cls", "refine", "train-seg", "eval") and not result.skipped and processes.is_main():
        from .model_card import write_cards

        write_cards(context.run)


def run_all(
    context: Context,
    start: str | None = None,
    end: str | None = None,
    report: Callable[[Result], None] | None = None,
    preflight: bool = False,
) -> list[Result]:
    """Run the stages that the recipe has, from `start` to `end`, in order; `report` is called after each.

    preflight: first check for everything that would stop one of them.

    Raises:
        StageError: `start` or `end` is no stage of the recipe. WssegError: all that the preflight found.
    """
    stages = list(context.recipe.recipe.stages)
    for name, flag in ((start, "--from"), (end, "--to")):
        if name is not None and name not in stages:
            raise StageError(f"{flag} {name}: the recipe has the stages {', '.join(stages)}")
    first = stages.index(start) if start else 0
    last = stages.index(end) if end else len(stages) - 1
    if first > last:
        raise StageError(f"--from {start} comes after --to {end}")
    if preflight and not context.dry_run:
        _look_ahead(context, stages[first : last + 1])
    results = []
    for name in stages[first : last + 1]:
        results.append(run_stage(name, context))
        if report is not None:
            report(results[-1])
    return results


def _look_ahead(context: Context, stages: Sequence[str]) -> None:
    """Let the main process check the stages that are not done, and tell the others what stands in their way."""
    from ..data.lookup import look_up
    from ..engine import checkpoint, processes
    from .preflight import Preflight, refuse

    if processes.world() > 1:
        processes.start(context.recipe.section("runtime").device)
    answer: Any = None
    if processes.is_main():
        run = context.run
        trained = {"refine": run.folder("refine") / "train" / checkpoint.MODEL}
        ahead = [
            name
            for name in stages
            if context.force or not (run.done(name) or (name in trained and trained[name].is_file()))
        ]
        try:
            index = None if "prepare" in ahead or not run.done("prepare") else look_up(context.prepared)
            look = Preflight(context.recipe, ahead, work=context.prepared / "data", index=index)
            look.files()
            refuse(look.found, context.recipe)
            look.fetch(context.quiet)
            refuse(look.found, context.recipe)
        except WssegError as error:
            answer = error
    processes.agree(answer)


def _locked(context: Context) -> Any:
    from ..engine import processes

    if processes.world() > 1:  # they have to agree on who does what; a single process starts torch when it computes
        processes.start(context.recipe.section("runtime").device)
    return context.run.lock() if processes.is_main() else nullcontext()


def begin(context: Context, stage: str, splits: tuple[str, ...] = ()) -> State:
    """Let the main process decide whether a stage is new, continued or done, and tell the others."""
    from ..engine import processes

    answer: Any = None
    if processes.is_main():
        try:
            answer = context.run.begin(stage, splits, context.force)
        except WssegError as error:
            answer = error
    state: State = processes.agree(answer)
    return state


def up_to_date(stage: str) -> Result:
    """Return the result of a stage that had nothing to do."""
    return Result(stage, [f"{stage} is up to date"], {"state": "done"}, skipped=True)
