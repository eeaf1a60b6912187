"""The records that the report reads from a run: the numbers of `eval`, the data report of `prepare`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, with_config
from typing_extensions import TypedDict

from ..disk.records import OPEN, read_record
from ..errors import StageError
from ..run.evaluation import Evaluation
from ..run.records import Count

_Side = Annotated[int, Field(ge=0, lt=1 << 31)]


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


def read_eval(path: Path) -> Evaluation:
    """Return a record of `eval`.

    Raises:
        StageError: it is damaged.
    """
    remedy = f"delete it and run `wsseg eval --what {path.name.partition('-')[0]}`"
    record = read_record(path, Evaluation, remedy, StageError)
    if record is None:
        raise StageError(f"{path} is missing; {remedy}")
    count = len(record.iou)
    if len(record.confusion) != count or any(len(row) != count for row in record.confusion):
        raise StageError(f"{path}: `confusion`: expected {count} rows of {count} numbers, as `iou` has; {remedy}")
    return record


def read_data_report(path: Path) -> DataReport:
    """Return the data report, empty if `prepare` has not finished.

    Raises:
        StageError: it is damaged.
    """
    return read_record(path, DataReport, "run `wsseg prepare --force`", StageError) or {}
