"""How far a run is, one line per stage: done, partial, stale, missing. Read from the run directory, without torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from .data.index import read_index
from .data.sources import Changes
from .errors import WssegError
from .recipe.loading import load
from .run.directory import PER_IMAGE, RunDir
from .run.kept import kept_recipe
from .run.lock import holder
from .run.records import Finished, Started, metrics
from .stages.prepared import data_changes

StageState = Literal["done", "partial", "stale", "missing"]

_SUFFIX = {"cam": "*.safetensors", "refine": "*.safetensors", "pseudo": "*.png"}
_TRAINING = {"train-cls": "train_cls", "refine": "refine.train", "train-seg": "train_seg"}


@dataclass(frozen=True)
class StageStatus:
    """One stage of a run: its state, its progress, and remarks."""

    stage: str
    state: StageState
    detail: str
    notes: tuple[str, ...] = ()


def open_existing(path: Path, recipe: str | None = None, overrides: list[str] | None = None) -> RunDir:
    """Return an existing run, with the given recipe or with the one that it was last used with.

    Raises:
        RecipeError: the directory holds no recipe, or the recipe is not valid.
    """
    if recipe is not None:
        return RunDir(path, load(recipe, overrides or ()))
    return RunDir(path, kept_recipe(path, overrides or ()))


def working(run: RunDir) -> str:
    """Return which process is working in the run at this moment, or ""."""
    found = holder(run.path / "lock")
    return f"process {found.get('pid')} on {found.get('host')} since {found.get('since')}" if found else ""


def status(run: RunDir) -> list[StageStatus]:
    """Return the status of every stage that the recipe has, in order."""
    found = data_changes(run) if run.done("prepare") else Changes()
    lines = [_status(run, stage) for stage in run.recipe.recipe.stages]
    if found is None:
        return [replace(lines[0], notes=(*lines[0].notes, "keeps no record of its data")), *lines[1:]]
    if not found:
        return lines
    return [
        line if line.state == "missing" else replace(line, state="stale", detail=_stale(line, found)) for line in lines
    ]


def _stale(line: StageStatus, found: Changes) -> str:
    """Return why a stage is stale when the run's data have changed; for prepare, with what has changed."""
    changed = "; ".join(found.lines()) if line.stage == "prepare" else "the data of prepare have changed"
    return f"{line.detail}; {changed}" if line.state == "stale" else changed


def _status(run: RunDir, stage: str) -> StageStatus:
    notes = tuple(run.other_versions(stage))
    started, done = run.started(stage), run.done(stage)
    if started is None:
        return StageStatus(stage, "missing", "")
    changed = run.changes(stage)
    if changed:
        return StageStatus(stage, "stale", "; ".join(changed), notes)
    if done is None:
        return StageStatus(stage, "partial", _progress(run, stage, started), notes)
    missing = [name for name in _splits(run, stage) if name not in done.get("lists", ())]
    if missing:
        return StageStatus(stage, "partial", f"{_progress(run, stage, started)}, without {', '.join(missing)}", notes)
    return StageStatus(stage, "done", _facts(done), notes)


def _splits(run: RunDir, stage: str) -> tuple[str, ...]:
    data = run.recipe.recipe.dataset
    return tuple(dict.fromkeys((*data.train, *data.scored))) if stage in PER_IMAGE else ()


def _progress(run: RunDir, stage: str, started: Started) -> str:
    parts = []
    if stage in _TRAINING and (step := last_step(run.folder(stage))):
        total = started.get("asks", {}).get(f"{_TRAINING[stage]}.max_steps")
        parts.append(f"step {step}/{total}" if total else f"step {step}")
    if stage in PER_IMAGE:
        count = sum(1 for _ in run.folder(stage).glob(_SUFFIX[stage]))
        parts.append(f"{count}/{_images(run, stage)} images")
    if (run.folder(stage) / "failures.jsonl").is_file():
        parts.append("some failed, see failures.jsonl")
    return ", ".join(parts) or "begun"


def _images(run: RunDir, stage: str) -> str:
    try:
        return str(len(read_index(run.folder("prepare")).samples(*_splits(run, stage))))
    except WssegError:
        return "?"


def last_step(folder: Path) -> int | None:
    """Return the last step that training recorded, in its metrics or as a checkpoint, in any of its parts."""
    steps = [int(path.name[5:]) for path in folder.rglob("step_*") if re.fullmatch(r"step_[0-9]{1,12}", path.name)]
    for path in folder.rglob("metrics.jsonl"):
        steps += [int(row["step"]) for row in metrics(path)]
    return max(steps, default=None)


def _facts(done: Finished) -> str:
    parts = []
    if "counts" in done:
        parts.append(", ".join(f"{name} {count}" for name, count in done["counts"].items()))
    elif "images" in done:
        parts.append(f"{done['images']} images")
    if done.get("lists") and "counts" not in done:
        parts.append(f"splits {', '.join(done['lists'])}")
    parts.append(f"{done.get('seconds', 0):.0f} s")
    parts.append(f"finished {str(done.get('finished', '?')).replace('+00:00', 'Z')}")
    return ", ".join(parts)
