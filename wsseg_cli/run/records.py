"""The JSON records of a run: read with a clear error, written whole or not at all, with versions and times."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, with_config
from typing_extensions import TypedDict

from .. import __version__
from ..disk.records import OPEN, read_lines, read_record
from ..disk.writing import write_text
from ..errors import StageError
from ..types import Json


def versions() -> dict[str, str]:
    """Return the versions that numbers may depend on, read from metadata."""
    found = {"wsseg": __version__, "python": platform.python_version()}
    for package in ("torch", "torchvision", "numpy"):
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def now() -> str:
    """Return the time in UTC, to the second."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Seconds = Annotated[float, Field(ge=0, le=1e12)]


class Given(TypedDict):
    """A folder that --use put in place of a stage's, and the hash of its content."""

    path: str
    hash: str


@with_config(OPEN)
class Node(TypedDict, total=False):
    """The record whose hash is a stage's fingerprint: its values, and those of what it reads."""

    asks: Json
    reads: dict[str, Node]
    index: str | None
    photos: str
    masks: str
    folder: str


@with_config(OPEN)
class Started(TypedDict, total=False):
    """stage.json: what a stage was started with."""

    fingerprint: str
    asks: Json
    reads: dict[str, Node]
    use: dict[str, Given]
    started: str
    versions: dict[str, str]


@with_config(OPEN)
class Finished(TypedDict, total=False):
    """done.json: the result of a stage; each adds facts of its own."""

    fingerprint: str
    lists: list[str]
    started: str | None
    finished: str
    seconds: Seconds
    versions: dict[str, str]
    index: str
    photos: str
    masks: str
    counts: dict[str, Count]
    images: Count
    artefacts: list[str]


def read_stage(folder: Path) -> Started | None:
    """Return stage.json of a stage's folder, None if the stage never began.

    Raises:
        StageError: it is damaged.
    """
    return read_record(folder / "stage.json", Started, _remedy(folder), StageError)


def read_done(folder: Path) -> Finished | None:
    """Return done.json of a stage's folder, None if the stage is not done.

    Raises:
        StageError: it is damaged.
    """
    return read_record(folder / "done.json", Finished, _remedy(folder), StageError)


def _remedy(folder: Path) -> str:
    return f"`wsseg {folder.name} --force` makes it again"


def metrics(path: Path) -> Iterator[dict[str, float]]:
    """Yield the lines of a training's metrics.jsonl: the step, the losses by name, `lr` and `grad_norm`.

    A last line that is cut off is left out: older versions could be killed while writing it.

    Raises:
        StageError: it is damaged.
    """
    remedy = "delete it; the same command goes on without the losses so far"
    for row in read_lines(path, _Metrics, remedy, StageError, last_may_be_cut=True):
        if not isinstance(row.get("step"), int):
            raise StageError(f"{path}: a line without `step`; {remedy}")
        yield row


_Metrics = dict[str, Annotated[int, Field(ge=0, lt=1 << 53)] | Annotated[float, Field(ge=-1e30, le=1e30)]]


def write_json(path: Path, data: Any) -> None:
    """Write JSON under a temporary name and rename it, so that a file that exists is whole.

    Raises:
        DataError: it cannot be written.
    """
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, default=str) + "\n")
