"""Several runs compared: their scores beside those of the first, and the keys in which their recipes differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..recipe.problems import show
from ..types import Json
from .collect import ARTEFACTS, RunFacts

ABSENT = "–"
"""Shown in place of a score or a key that a run does not have."""


@dataclass(frozen=True)
class Score:
    """The mIoU of an artefact of a run on a split, in per cent, and its difference from that of the first run."""

    run: str
    artefact: str
    split: str
    miou: float | None
    difference: float | None

    @property
    def text(self) -> str:
        """The score with one digit, followed by the difference; a dash if there is no score."""
        if self.miou is None:
            return ABSENT
        return f"{self.miou:.1f}" + (f" ({self.difference:+.1f})" if self.difference is not None else "")


def score_rows(runs: Sequence[RunFacts]) -> list[list[Score]]:
    """Return a row for each run, with a column for each artefact and split that any of them was evaluated on."""
    splits = list(dict.fromkeys(split for run in runs for split in run.splits))
    places = [(a, s) for a in ARTEFACTS for s in splits if any(run.result(a, s) is not None for run in runs)]
    return [[_score(run, runs[0], artefact, split) for artefact, split in places] for run in runs]


def _score(run: RunFacts, first: RunFacts, artefact: str, split: str) -> Score:
    ours, theirs = _miou(run, artefact, split), _miou(first, artefact, split)
    away = None if run is first or ours is None or theirs is None else round(ours - theirs, 3)
    return Score(run.name, artefact, split, ours, away)


def _miou(run: RunFacts, artefact: str, split: str) -> float | None:
    record = run.result(artefact, split)
    return None if record is None else record.miou


def recipe_differences(runs: Sequence[RunFacts]) -> dict[str, list[str]]:
    """Return {key: its value in the recipe of each run} for every key whose values differ, except the name."""
    flat: list[dict[str, Any]] = [dict(_flat(run.recipe)) for run in runs]
    keys = dict.fromkeys(key for recipe in flat for key in recipe if key != "name")
    differing = [key for key in keys if any(r.get(key, ABSENT) != flat[0].get(key, ABSENT) for r in flat)]
    return {key: [show(recipe[key]) if key in recipe else ABSENT for recipe in flat] for key in differing}


def _flat(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def as_tables(runs: Sequence[RunFacts]) -> tuple[list[list[str]], list[list[str]]]:
    """Return the rows of both tables, heads first: runs by artefacts, and keys by runs ([] if no key differs)."""
    rows = score_rows(runs)
    head = ["mIoU", *(f"{score.artefact} {score.split}" for score in rows[0])]
    scores = [head, *([run.name, *(score.text for score in row)] for run, row in zip(runs, rows, strict=True))]
    keys = [[key, *values] for key, values in recipe_differences(runs).items()]
    return scores, [["recipe", *(run.name for run in runs)], *keys] if keys else []


def as_data(runs: Sequence[RunFacts]) -> Json:
    """Return both tables as plain data: `scores`, and `recipes` with the values of each run in the order given."""
    scores = [vars(score) for row in score_rows(runs) for score in row]
    return {"scores": scores, "recipes": recipe_differences(runs)}
