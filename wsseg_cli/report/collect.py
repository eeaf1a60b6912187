"""The contents of a run, read from its directory alone: stages, numbers, losses, data report, recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..data.index import Index, read_index
from ..disk.reading import read_text
from ..errors import DataError, RecipeError, StageError
from ..recipe import yaml_core
from ..recipe.sections import STAGES
from ..run.evaluation import Evaluation
from ..run.records import metrics, read_done, read_stage
from .records import DataReport, read_data_report, read_eval

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
    """The losses that one training recorded: the stage, its part ("" for the whole), and {name: [(step, value)]}."""

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
    data: DataReport
    losses: Sequence[Losses]
    results: Sequence[Evaluation]
    index: Index | None
    index_hash: str
    notes: Sequence[str] = field(default_factory=tuple)

    def result(self, artefact: str, split: str) -> Evaluation | None:
        """Return the record of an artefact on a split, None if it was not evaluated."""
        found = (r for r in self.results if r.artefact == artefact and r.split == split)
        return next(found, None)

    @property
    def artefacts(self) -> list[str]:
        """Artefacts that were evaluated, in the order of the stages."""
        there = {record.artefact for record in self.results}
        return [name for name in ARTEFACTS if name in there]

    @property
    def val(self) -> str | None:
        """The split that is not trained on, as the recipe names it."""
        dataset = self.recipe.get("dataset")
        found = dataset.get("val") if isinstance(dataset, dict) else None
        return found if isinstance(found, str) else None

    @property
    def splits(self) -> list[str]:
        """Splits that anything was evaluated on."""
        return list(dict.fromkeys(record.split for record in self.results))


def collect(paths: Sequence[Path]) -> list[RunFacts]:
    """Return the facts of several runs; runs of the same name are distinguished by their directories.

    Raises:
        RecipeError: a directory is not a run. StageError, DataError: a record in it is broken.
    """
    names = [path.resolve().name for path in paths]
    unique = len(set(names)) == len(names)
    return [_collect(path, name if unique else str(path)) for path, name in zip(paths, names, strict=True)]


def _collect(path: Path, name: str) -> RunFacts:
    recipe_file = path / "recipe.yaml"
    if not recipe_file.is_file():
        raise RecipeError(f"{path} is not a run: it has no recipe.yaml; `wsseg run --recipe quickstart` makes one")
    try:
        text = read_text(recipe_file, yaml_core.LARGEST)
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{recipe_file} cannot be read ({error}); any command on the run writes it again") from None
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
        data=read_data_report(path / "prepare" / "report.json"),
        losses=[part for stage in STAGES for part in _losses(path / stage)],
        results=_results(path / "eval"),
        index=index,
        index_hash=(read_done(path / "prepare") or {}).get("index", ""),
        notes=tuple(notes),
    )


def _stage(folder: Path) -> StageFacts | None:
    done, started = read_done(folder), read_stage(folder)
    if done is None and started is None:
        return None
    facts = done or {}
    counts = facts.get("counts")
    return StageFacts(
        name=folder.name,
        state="done" if done is not None else "not finished",
        seconds=facts.get("seconds", 0.0),
        images=facts.get("images") if counts is None else sum(counts.values()),
        finished=facts.get("finished", ""),
        versions=facts.get("versions") or (started or {}).get("versions", {}),
    )


def _losses(folder: Path) -> list[Losses]:
    parts = []
    for path in sorted(folder.rglob("metrics.jsonl"), key=lambda path: (len(path.parts), path)):
        series: dict[str, dict[float, float]] = {}
        for row in metrics(path):
            step = float(row.pop("step"))
            for name, value in row.items():
                series.setdefault(name, {})[step] = float(value)
        part = path.parent.relative_to(folder).as_posix()
        parts.append(
            Losses(folder.name, "" if part == "." else part, {n: sorted(s.items()) for n, s in series.items()})
        )
    return parts


def _results(folder: Path) -> list[Evaluation]:
    records = [read_eval(path) for artefact in ARTEFACTS for path in sorted(folder.glob(f"{artefact}-*.json"))]
    order = {"train": 0, "val": 1}
    return sorted(records, key=lambda r: (ARTEFACTS.index(r.artefact), order.get(r.split, 2), r.split))
