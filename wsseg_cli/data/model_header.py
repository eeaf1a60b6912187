"""What model files and start weights say of themselves: the forms of the keys that any command reads."""

from __future__ import annotations

from pathlib import Path

from pydantic import with_config
from typing_extensions import TypedDict

from ..disk.records import OPEN, check_record
from ..errors import CheckpointError
from ..types import Json


@with_config(OPEN)
class _Frozen(TypedDict):
    """The weights of a network that learns nothing: as the recipe names them, their file, its SHA-256."""

    weights: str
    file: str
    sha256: str


@with_config(OPEN)
class _Pixels(TypedDict, total=False):
    mean: list[float]
    std: list[float]
    scale: float
    order: str


@with_config(OPEN)
class _Known(TypedDict, total=False):
    """No key is needed here: of start weights, of snapshots and of trained networks some are there, and plugins add."""

    wsseg: str
    kind: str
    name: str
    options: Json
    classes: list[str]
    normalization: _Pixels | None
    recipe: str
    weights: str
    fingerprint: str
    steps: int
    masks: str
    frozen: _Frozen
    kept: list[str]
    saw: str | None
    licence: str | None
    source: str


def checked_header(header: Json, path: Path) -> Json:
    """Return the header of the file at `path` after a look at the keys that are known.

    Raises:
        CheckpointError: one of them has another form; names it.
    """
    check_record(header, _Known, f"{path}: its header", "fetch it again, or train it again", CheckpointError)
    return header
