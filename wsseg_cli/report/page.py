"""Filling the page: plots and tables of all runs, pictures of those that share their data, one file."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from .. import __version__
from ..disk.writing import write_text
from ..errors import RecipeError
from ..run.records import now
from ..types import Json
from . import compare, tables
from .collect import RunFacts, collect
from .plots import Line, line_plot
from .sheet import Sheet, contact_sheet
from .thresholds import three_thresholds


def write_report(paths: Sequence[Path], out: Path | None = None, images: int = 4) -> Path:
    """Write the report of one or several runs and return its file.

    out: the file; default RUN/report.html, or report.html here for several runs. images: how many best, worst and
    random images each the contact sheet shows; 0 shows none.

    Raises:
        RecipeError: a directory is not a run, or the folder of `out` does not exist.
    """
    text = page(collect(paths), images)
    target = out or (paths[0] / "report.html" if len(paths) == 1 else Path("report.html"))
    if not target.parent.is_dir():
        raise RecipeError(f"the folder {target.parent} does not exist")
    write_text(target, text)
    return target


def page(runs: Sequence[RunFacts], images: int = 4) -> str:
    """Return the HTML of the report."""
    here = Path(__file__).resolve().parent
    environment = Environment(
        loader=FileSystemLoader(here), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["number"] = tables.number
    head, rows = tables.protocols(runs)
    title = runs[0].name if len(runs) == 1 else " · ".join(run.name for run in runs)
    return environment.get_template("page.html.j2").render(
        title=title,
        runs=runs,
        several=len(runs) > 1,
        version=__version__,
        now=now().replace("+00:00", " UTC").replace("T", " "),
        style=Markup((here / "page.css").read_text(encoding="utf-8")),
        script=Markup((here / "page.js").read_text(encoding="utf-8")),
        compared=compare.as_tables(runs) if len(runs) > 1 else None,
        headlines=[{"run": run.name, "cards": tables.scores(run), "about": _about(run)} for run in runs],
        protocol_head=head,
        protocol_rows=rows,
        losses=_losses(runs),
        curves=_curves(runs),
        threshold=three_thresholds(runs[0], images) if len(runs) == 1 else None,
        groups=[_group(group, len(runs) > 1, images) for group in _same_data(runs)],
        times=tables.times(runs),
        versions=tables.versions(runs),
    )


def _about(run: RunFacts) -> list[str]:
    """Return a run in a few words: data set, method, refiner, segmenter, seed, date."""
    recipe = run.recipe

    def named(*keys: str) -> str:
        here: Any = recipe
        for key in keys:
            here = here.get(key) if isinstance(here, dict) else None
        return str(here) if here else ""

    parts = [
        ("data", named("dataset", "name")),
        ("method", named("train_cls", "method", "name")),
        ("backbone", named("train_cls", "method", "options", "backbone")),
        ("refiner", named("refine", "refiner", "name")),
        ("segmenter", named("train_seg", "segmenter", "name")),
        ("seed", str(recipe.get("seed", 0))),
    ]
    return [f"{word} {text}" for word, text in parts if text]


def _same_data(runs: Sequence[RunFacts]) -> list[list[RunFacts]]:
    groups: dict[str, list[RunFacts]] = {}
    for number, run in enumerate(runs):
        groups.setdefault(run.index_hash or str(number), []).append(run)
    return list(groups.values())


def _group(runs: Sequence[RunFacts], named: bool, images: int) -> Json:
    """Return what is shown of runs on the same data: classes, confusions, pictures, data report."""
    found = tables.columns(runs)
    last = [column for column in found if column.artefact == found[-1].artefact and column.split == found[-1].split]
    others = [column for column in found if column not in last]
    heads: list[Json] = []
    for column in found:
        if not heads or heads[-1]["title"] != column.title:
            heads.append({"title": column.title, "span": 0})
        heads[-1]["span"] += 1
    sheet: Sheet = contact_sheet(runs, images)
    return {
        "names": " · ".join(run.name for run in runs) if named else "",
        "columns": found,
        "heads": heads,
        "class_rows": tables.class_rows(found),
        "confusions": [tables.confusion(column, named) for column in [*last, *others]],
        "sheet": sheet,
        "data": tables.data_facts(runs[0]),
    }


_BESIDE = {"lr": "learning rate", "grad_norm": "gradient norm"}
"""What metrics.jsonl holds beside losses, and what a report calls it."""


def _losses(runs: Sequence[RunFacts]) -> list[tuple[str, Markup]]:
    """Return (title, plot) of every training's losses, all runs in one plot, and of what is `_BESIDE` them."""
    shown: dict[tuple[str, str], list[Line]] = {}
    beside: dict[str, list[Line]] = {name: [] for name in _BESIDE}
    for number, run in enumerate(runs):
        for losses in run.losses:
            names = [name for name in losses.series if name not in _BESIDE]
            lines = shown.setdefault((losses.stage, losses.part), [])
            for place, name in enumerate(names):
                label = f"{run.name}: {name}" if len(runs) > 1 else name
                colour, dash = (number, place) if len(runs) > 1 else (place, place // 8)
                lines.append(Line(label, losses.series[name], colour, dash))
            where = f"{losses.stage} {losses.part}".strip()
            label = f"{run.name}: {where}" if len(runs) > 1 else where
            for name in _BESIDE.keys() & losses.series.keys():
                beside[name].append(Line(label, losses.series[name], len(beside[name]), number))
    plots = [(f"{stage} {part}".strip(), line_plot(lines, "step", "loss")) for (stage, part), lines in shown.items()]
    plots += [(title, line_plot(beside[name], "step", title)) for name, title in _BESIDE.items() if beside[name]]
    return [(title, plot) for title, plot in plots if plot]


def _curves(runs: Sequence[RunFacts]) -> list[tuple[str, Markup]]:
    """Return (title, plot) of mIoU by background threshold and, for a single run, of over- and under-activation."""
    lines, errors = [], []
    splits = list(dict.fromkeys(split for run in runs for split in run.splits))
    for number, run in enumerate(runs):
        for place, record in enumerate(r for r in run.results if r.curve):
            curve = record.curve or []
            name = f"{tables.TITLES[record.artefact]}, {record.split}"
            label = f"{run.name}: {name}" if len(runs) > 1 else name
            points = [(p.threshold, p.miou) for p in curve if p.miou is not None]
            colour = number if len(runs) > 1 else run.artefacts.index(record.artefact)
            mark = record.threshold.value if record.threshold else None
            lines.append(Line(label, points, colour, splits.index(record.split), mark))
            if len(runs) == 1 and record.split == splits[0]:
                over = [(p.threshold, 100 * p.over) for p in curve if isfinite(p.over)]
                under = [(p.threshold, 100 * p.under) for p in curve if isfinite(p.under)]
                errors += [Line(f"{name}: too much", over, place, 0), Line(f"{name}: too little", under, place, 1)]
    plots = [("mIoU by background threshold", line_plot(lines, "threshold", "mIoU"))]
    plots.append(("Foreground where there is none, and missed, in %", line_plot(errors, "threshold", "per cent")))
    return [(title, plot) for title, plot in plots if plot]
