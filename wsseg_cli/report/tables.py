"""The figures of the report arranged for the page: scores, protocols, classes, confusions, data, times, versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..run.evaluation import Evaluation
from ..types import Json
from .collect import ARTEFACTS, RunFacts

TITLES = {"cam": "CAM", "refine": "refined", "pseudo": "pseudo-masks", "seg": "network"}
MATRIX_CLASSES = 30
"""With more classes than this the confusion matrix is a list of the largest confusions."""


@dataclass(frozen=True)
class Column:
    """One column of the table of classes: an artefact of a run on a split."""

    artefact: str
    split: str
    run: str
    record: Evaluation

    @property
    def title(self) -> str:
        """Return the artefact's name for readers."""
        return TITLES[self.artefact]


def number(value: float | None, digits: int = 1) -> str:
    """Return a number with fixed digits, a dash if there is none."""
    return "–" if value is None else f"{value:.{digits}f}"


def columns(runs: Sequence[RunFacts]) -> list[Column]:
    """Return the columns of the table of classes: by artefact, then split, then run, so that runs are side by side."""
    splits = list(dict.fromkeys(split for run in runs for split in run.splits))
    return [
        Column(artefact, split, run.name, record)
        for artefact in ARTEFACTS
        for split in splits
        for run in runs
        if (record := run.result(artefact, split)) is not None
    ]


def class_rows(found: Sequence[Column]) -> list[Json]:
    """Return the rows of the table of classes, the mean first; the best of each split's values is marked."""
    names = list(dict.fromkeys(name for column in found for name in column.record.iou))
    rows = []
    for name in ["mean", *names]:
        values = [c.record.miou if name == "mean" else c.record.iou.get(name) for c in found]
        best: dict[str, float] = {}
        for value, column in zip(values, found, strict=True):
            best[column.split] = max(best.get(column.split, -1.0), -1.0 if value is None else value)
        cells = [
            {"text": number(v), "share": v or 0, "best": v is not None and v == best[c.split]}
            for v, c in zip(values, found, strict=True)
        ]
        rows.append({"name": name, "cells": cells})
    return rows


def scores(run: RunFacts) -> list[Json]:
    """Return the headline of a run: one card per artefact, its mIoU on the split not trained on first."""
    cards = []
    for artefact in run.artefacts:
        splits = sorted(run.splits, key=lambda split: split != run.val)
        records = [r for split in splits if (r := run.result(artefact, split)) is not None]
        first = records[0]
        cards.append(
            {
                "title": TITLES[artefact],
                "miou": number(first.miou),
                "split": first.split,
                "others": [(r.split, number(r.miou)) for r in records[1:]],
                "share": first.miou or 0,
                "background": first.all_background_miou or 0,
                "published": published(run, first),
            }
        )
    return cards


def published(run: RunFacts, record: Evaluation) -> str:
    """Return the published number and our difference, "" if the recipe has none."""
    reference = run.recipe.get("reference") or {}
    theirs = reference.get(record.artefact) if isinstance(reference, Mapping) else None
    value = theirs.get(record.split) if isinstance(theirs, Mapping) else None
    if not isinstance(value, int | float) or not 0 <= value <= 100 or record.miou is None:
        return ""
    return f"{value:.1f} ({record.miou - value:+.1f})"


def protocols(runs: Sequence[RunFacts]) -> tuple[list[str], list[list[str]]]:
    """Return head and rows of the table of how each number was obtained; columns without entries are left out."""
    head = ["", "split", "mIoU", "published", "threshold", "images", "labels", "views", "CRF", "background", "refiner"]
    head += ["initial weights", "supervision", "masks"]
    rows = []
    for run in runs:
        for record in run.results:
            said = record.protocol
            title = TITLES[record.artefact]
            rows.append(
                [
                    f"{run.name}: {title}" if len(runs) > 1 else title,
                    record.split,
                    number(record.miou, 2),
                    published(run, record),
                    _threshold(record),
                    _images(said),
                    str(said.get("labels", "")),
                    _views(said.get("infer")),
                    _crf(said.get("crf")),
                    ", ".join(f"{k} {v:g}" for k, v in (said.get("background") or {}).items()),
                    str(said.get("refiner") or ""),
                    str(said.get("initial weights") or ""),
                    _supervision(str(said.get("supervision") or "")),
                    str(said.get("masks") or ""),
                ]
            )
    used = [i for i in range(len(head)) if i < 3 or any(row[i] for row in rows)]
    return [head[i] for i in used], [[row[i] for i in used] for row in rows]


def _threshold(record: Evaluation) -> str:
    return record.threshold.said if record.threshold else ""


def _images(protocol: Mapping[str, Any]) -> str:
    """Return how many images the figures are over, with how many there are where some have no mask."""
    images, without = protocol.get("images", ""), protocol.get("images without a mask", 0)
    return f"{images} of {images + without}" if without else str(images)


def _views(infer: Mapping[str, Any] | None) -> str:
    if not infer:
        return ""
    windows = f", in windows of {infer['tile']}" if infer.get("tile") else ""
    flipped = ", flipped too" if infer.get("flip") else ""
    precision = f", {infer['precision']}" if infer.get("precision") else ""
    return " ".join(f"{scale:g}" for scale in infer.get("scales", ())) + flipped + windows + precision


def _crf(crf: Mapping[str, Any] | None) -> str:
    return ", ".join(f"{v}" if k == "preset" else f"{k} {v}" for k, v in crf.items()) if crf else "none"


def _supervision(word: str) -> str:
    words = {"I": "I: image labels", "I+S": "I+S: image labels and saliency"}
    return words.get(word, word)


def confusion(column: Column, named: bool = False) -> Json:
    """Return a confusion matrix for the page: rows in per cent of the class's pixels, and the largest confusions."""
    matrix = column.record.confusion
    names = list(column.record.iou)
    totals = [sum(row) for row in matrix]
    shares = [[100 * v / t if t else 0.0 for v in row] for row, t in zip(matrix, totals, strict=True)]
    worst = sorted(
        ((shares[i][j], names[i], names[j]) for i in range(len(names)) for j in range(len(names)) if i != j),
        reverse=True,
    )
    return {
        "title": f"{column.title} on {column.split}" + (f", {column.run}" if named else ""),
        "names": names,
        "rows": shares if len(names) <= MATRIX_CLASSES else [],
        "worst": [{"share": s, "is": a, "taken": b} for s, a, b in worst[: 8 if len(names) <= MATRIX_CLASSES else 20]],
    }


def data_facts(run: RunFacts) -> Json:
    """Return the data report of a run, arranged: splits, images per class, pairs, single facts, warnings."""
    report = run.data
    splits = report.get("lists", {})
    counts = {name: row.get("images per class", {}) for name, row in splits.items()}
    most = max((n for row in counts.values() for n in row.values()), default=1) or 1
    classes = [
        (name, [(split, row.get(name, 0), 100 * row.get(name, 0) / most) for split, row in counts.items()])
        for name in report.get("classes", ())
    ]
    known = {"dataset", "classes", "lists", "often together", "sizes", "warnings"}
    facts = [(k, f"{v:g}" if isinstance(v, float) else str(v)) for k, v in report.items() if k not in known]
    sizes = report.get("sizes")
    if sizes:
        small, large = ("×".join(str(n) for n in reversed(sizes[key])) for key in ("smallest", "largest"))
        facts.insert(0, ("image sizes", small if small == large else f"{small} to {large}"))
    return {
        "dataset": report.get("dataset", ""),
        "splits": [(n, {k: v for k, v in row.items() if k != "images per class"}) for n, row in splits.items()],
        "classes": classes,
        "pairs": report.get("often together", ())[:12],
        "facts": facts,
        "warnings": report.get("warnings", ()),
    }


def duration(seconds: float) -> str:
    """Return a duration in hours, minutes or seconds."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 100 else f"{seconds / 3600:.1f} h"


def times(runs: Sequence[RunFacts]) -> list[Json]:
    """Return the stages of every run with the share of its own time that each took."""
    shown = []
    for run in runs:
        total = sum(stage.seconds for stage in run.stages)
        stages = [
            {"facts": s, "share": 100 * s.seconds / total if total else 0, "time": duration(s.seconds), "colour": n}
            for n, s in enumerate(run.stages)
        ]
        shown.append({"run": run.name, "total": duration(total), "stages": stages})
    return shown


def versions(runs: Sequence[RunFacts]) -> list[tuple[str, list[str]]]:
    """Return for each package the versions that each run's stages used, several if they changed in between."""
    packages = list(dict.fromkeys(name for run in runs for stage in run.stages for name in stage.versions))
    return [
        (name, [", ".join(dict.fromkeys(s.versions[name] for s in run.stages if name in s.versions)) for run in runs])
        for name in packages
    ]
