"""The forms of what the report reads of a run: the numbers of `eval`, the data report of `prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, with_config
from typing_extensions import NotRequired, TypedDict

from ..disk.records import OPEN, read_record
from ..errors import StageError
from ..run.records import Count

Percent = Annotated[float, Field(ge=0, le=100)] | None
_Number = Annotated[float, Field(ge=-1e30, le=1e30)]
_Side = Annotated[int, Field(ge=0, lt=1 << 31)]


class Point(TypedDict):
    """One point of a threshold curve."""

    threshold: _Number
    miou: Percent
    over: _Number
    under: _Number


class Threshold(TypedDict):
    """The threshold that the numbers were taken at, and where it was chosen."""

    value: _Number
    chosen: str


class Views(TypedDict, total=False):
    """Test-time views."""

    scales: list[_Number]
    flip: bool


@with_config(OPEN)
class Protocol(TypedDict, total=False):
    """What must be known to compare a number with another one."""

    images: Count
    labels: str
    infer: Views | None
    crf: dict[str, str | int | float] | None
    background: dict[str, _Number] | None
    refiner: str | None
    supervision: str


@with_config(OPEN)
class Record(TypedDict):
    """eval/WHAT-LIST.json: the numbers of one artefact on one list."""

    artefact: Literal["cam", "refine", "pseudo", "seg"]
    split: str
    protocol: NotRequired[Protocol]
    miou: Percent
    iou: dict[str, Percent]
    all_background_miou: NotRequired[Percent]
    confusion: list[list[Count]]
    threshold: NotRequired[Threshold]
    curve: NotRequired[list[Point]]


_Pair = TypedDict("_Pair", {"class": str, "with": str, "share": Annotated[float, Field(ge=0, le=1)], "images": Count})
_List = TypedDict("_List", {"images": Count, "images per class": dict[str, Count]}, total=False)
with_config(OPEN)(_List)


class _Sizes(TypedDict):
    smallest: tuple[_Side, _Side]
    largest: tuple[_Side, _Side]


DataReport = TypedDict(
    "DataReport",
    {
        "dataset": str,
        "classes": list[str],
        "lists": dict[str, _List],
        "often together": list[_Pair],
        "sizes": _Sizes,
        "warnings": list[str],
    },
    total=False,
)
"""prepare/report.json: what a data set holds; each data set adds facts of its own."""
with_config(OPEN)(DataReport)


def read_eval(path: Path) -> Record:
    """Return a record of `eval`.

    Raises:
        StageError: it is damaged.
    """
    remedy = f"delete it and run `wsseg eval --what {path.name.partition('-')[0]}`"
    record = read_record(path, Record, remedy, StageError)
    if record is None:
        raise StageError(f"{path} is missing; {remedy}")
    count = len(record["iou"])
    if len(record["confusion"]) != count or any(len(row) != count for row in record["confusion"]):
        raise StageError(f"{path}: `confusion`: expected {count} rows of {count} numbers, as `iou` has; {remedy}")
    return record


def read_data_report(path: Path) -> DataReport:
    """Return the data report, empty if `prepare` has not finished.

    Raises:
        StageError: it is damaged.
    """
    return read_record(path, DataReport, "run `wsseg prepare --force`", StageError) or {}
