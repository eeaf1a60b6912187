"""What a run holds, read from its directory alone: stages, numbers, losses, data report, recipe."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.index import Index, read_index
from ..errors import DataError, RecipeError, StageError
from ..recipe import yaml_core
from ..recipe.sections import STAGES
from ..run.records import read_json
from ..types import Json

ARTEFACTS = ("cam", "refine", "pseudo", "seg")
"""What can be evaluated and shown, in the order of the stages."""


@dataclass(frozen=True)
class StageFacts:
    """One stage of a run: "done" or "not finished", how long it took, how many images, under which versions."""

    name: str
    state: str
    seconds: float
    images: int | None
    finished: str
    versions: Mapping[str, str]


@dataclass(frozen=True)
class Losses:
    """What one training wrote down: the stage, its part ("" for the whole), and {name: [(step, value)]}."""

    stage: str
    part: str
    series: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True)
class RunFacts:
    """Everything the report says about one run."""

    name: str
    path: Path
    recipe_text: str
    recipe: Mapping[str, Any]
    stages: Sequence[StageFacts]
    data: Mapping[str, Any]
    losses: Sequence[Losses]
    results: Sequence[Mapping[str, Any]]
    index: Index | None
    index_hash: str
    notes: Sequence[str] = field(default_factory=tuple)

    def result(self, artefact: str, split: str) -> Mapping[str, Any] | None:
        """Return the record of an artefact on a split, None if it was not evaluated."""
        found = (r for r in self.results if r["artefact"] == artefact and r["split"] == split)
        return next(found, None)

    @property
    def artefacts(self) -> list[str]:
        """Artefacts that were evaluated, in the order of the stages."""
        there = {record["artefact"] for record in self.results}
        return [name for name in ARTEFACTS if name in there]

    @property
    def splits(self) -> list[str]:
        """Splits that anything was evaluated on."""
        return list(dict.fromkeys(record["split"] for record in self.results))


def collect(paths: Sequence[Path]) -> list[RunFacts]:
    """Return the facts of several runs; runs of the same name are told apart by their directories.

    Raises:
        RecipeError: a directory is no run. StageError, DataError: a record in it is broken.
    """
    names = [path.resolve().name for path in paths]
    unique = len(set(names)) == len(names)
    return [_collect(path, name if unique else str(path)) for path, name in zip(paths, names, strict=True)]


def _collect(path: Path, name: str) -> RunFacts:
    recipe_file = path / "recipe.yaml"
    if not recipe_file.is_file():
        raise RecipeError(f"{path} is no run: it holds no recipe.yaml; `wsseg run --recipe quickstart` makes one")
    text = recipe_file.read_text(encoding="utf-8")
    recipe = yaml_core.parse(text, str(recipe_file)).data
    notes: list[str] = []
    try:
        index = read_index(path / "prepare")
    except (StageError, DataError) as error:
        index = None
        notes.append(str(error))
    return RunFacts(
        name=name,
        path=path,
        recipe_text=text,
        recipe=recipe if isinstance(recipe, dict) else {},
        stages=[facts for stage in STAGES if (facts := _stage(path / stage)) is not None],
        data=read_json(path / "prepare" / "report.json") or {},
        losses=[part for stage in STAGES for part in _losses(path / stage)],
        results=_results(path / "eval"),
        index=index,
        index_hash=str((read_json(path / "prepare" / "done.json") or {}).get("index", "")),
        notes=tuple(notes),
    )


def _stage(folder: Path) -> StageFacts | None:
    done, started = read_json(folder / "done.json"), read_json(folder / "stage.json")
    record = done or started
    if record is None:
        return None
    counts = record.get("counts")
    return StageFacts(
        name=folder.name,
        state="done" if done else "not finished",
        seconds=float(record.get("seconds", 0.0)),
        images=sum(counts.values()) if isinstance(counts, dict) else record.get("images"),
        finished=str(record.get("finished", "")),
        versions=record.get("versions", {}),
    )


def _losses(folder: Path) -> list[Losses]:
    parts = []
    for path in sorted(folder.rglob("metrics.jsonl"), key=lambda path: (len(path.parts), path)):
        series: dict[str, dict[float, float]] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
                step = float(row.pop("step"))
            except (ValueError, KeyError, TypeError, AttributeError):
                # a line that is being written at this moment
                continue
            for name, value in row.items():
                if isinstance(value, int | float) and value == value:
                    series.setdefault(name, {})[step] = float(value)
        part = path.parent.relative_to(folder).as_posix()
        parts.append(
            Losses(folder.name, "" if part == "." else part, {n: sorted(s.items()) for n, s in series.items()})
        )
    return parts


def _results(folder: Path) -> list[Json]:
    records = []
    for path in sorted(folder.glob("*.json")):
        record = read_json(path)
        if record and record.get("artefact") in ARTEFACTS and "split" in record:
            records.append(record)
    order = {"train": 0, "val": 1}
    return sorted(
        records, key=lambda r: (ARTEFACTS.index(r["artefact"]), order.get(str(r["split"]), 2), str(r["split"]))
    )
