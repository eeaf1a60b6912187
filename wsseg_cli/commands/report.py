"""wsseg report: one HTML file on one run, or on several side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import console
from .options import JsonOpt, run_names

RunArg = Annotated[
    list[Path], typer.Argument(metavar="RUN…", help="One run, or several side by side.", autocompletion=run_names)
]


def report_command(
    runs: RunArg,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The file; default: RUN/report.html, or report.html here for several.", metavar="FILE"
        ),
    ] = None,
    images: Annotated[
        int, typer.Option("--images", min=0, help="Number of best, worst and random images to show.", metavar="N")
    ] = 4,
    as_json: JsonOpt = False,
) -> None:
    """Write one HTML file that shows what happened: scores, pictures, curves, data, times; opens offline anywhere.

    For several runs it also prints the scores next to those of the first, and the keys in which the recipes differ.
    """
    from ..report import collect, compare, write_report

    written = write_report(runs, out, images)
    facts = collect(runs) if len(runs) > 1 else []
    if as_json:
        compared = compare.as_data(facts) if facts else {}
        console.say_json({"report": str(written), "runs": [str(run) for run in runs]} | compared)
        return
    if facts:
        scores, recipes = compare.as_tables(facts)
        console.say(console.table(scores))
        console.say()
        console.say(console.table(recipes) if recipes else "the recipes do not differ")
        console.say()
    console.say(f"report     {written}")


def register(app: typer.Typer) -> None:
    """Add `report` to the command line."""
    app.command(
        "report",
        short_help="Show runs in one HTML file.",
        epilog="Example: wsseg report runs/quickstart runs/quickstart_eps",
    )(report_command)
