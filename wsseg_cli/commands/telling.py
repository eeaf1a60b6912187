"""What the command of a stage prints: its lines, its remarks on stderr, and the next command."""

from __future__ import annotations

from pathlib import Path

from .. import console
from ..run.directory import PER_IMAGE
from ..stages import Context, Result
from .options import command_line


def tell_lines(result: Result) -> None:
    """Print the lines of a stage, and its remarks on stderr."""
    for line in result.lines:
        console.say(line)
    tell_notes(result)


def tell_notes(result: Result) -> None:
    """Print the remarks of a stage on stderr."""
    for line in result.notes:
        console.note(f"note: {line}")


def tell(
    result: Result,
    context: Context,
    as_json: bool,
    recipe: str | None,
    run: Path | None,
    overrides: list[str] | None,
    split: str | None = None,
) -> None:
    """Print the result of one stage, and the next command."""
    if as_json:
        tell_notes(result)
        console.say_json({"stage": result.stage, "run": str(context.run.path), "skipped": result.skipped} | result.data)
        return
    tell_lines(result)
    stages = context.recipe.recipe.stages
    after = stages[stages.index(result.stage) + 1 :]
    if context.quiet or context.dry_run:
        return
    if not after:
        console.note(f"Next: wsseg status {context.run.path}")
        return
    # another split passes through the per-image stages only: nothing is trained on it
    following = next((s for s in after if s in PER_IMAGE or s == "eval"), after[0]) if split else after[0]
    more = ("--split", split) if split else ()
    console.note(f"Next: {command_line(following, recipe, run, overrides, *more)}")
