"""The data report: counts, sizes, and what is worth a warning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from wsseg_cli.data.index import Entry, Index
from wsseg_cli.recipe.sections import DatasetSettings
from wsseg_cli.stages.data_report import data_report, report_lines
from wsseg_cli.types import ClassNames, Sample


def report(splits: dict[str, str], labels: dict[str, tuple[int, ...]]) -> dict[str, Any]:
    """The report on images named by one letter each."""
    letters = dict.fromkeys("".join(splits.values()))
    entries = [
        Entry(
            Sample(letter, Path(f"{letter}.jpg"), labels.get(letter, (0,))),
            tuple(name for name, members in splits.items() if letter in members),
            (40 + number, 90 - number),
        )
        for number, letter in enumerate(letters)
    ]
    section = DatasetSettings(name="folder", train="train", val="val")
    return data_report(Index(entries, ClassNames(["boat", "water", "cat"])), section, {"left out": 0})


def test_counts_and_lines() -> None:
    found = report({"train": "abcd", "val": "ef"}, {"a": (0, 1), "b": (0, 1), "c": (1,), "d": ()})
    assert found["lists"]["train"]["images per class"] == {"boat": 2, "water": 3, "cat": 0}
    assert found["sizes"] == {"smallest": [40, 85], "largest": [45, 90]}
    assert report_lines(found) == [
        "prepare    folder: 4 train, 2 val, 3 classes, 1.2 labels per image",
        "           sizes: 85x40 to 90x45",
        "           images in train: water 3, boat 2, cat 0",
        "           images in val: boat 2, water 0, cat 0",
        "           warning: train: no image of cat: these classes cannot be learnt",
        "           warning: train: 1 images without a label, left out of training",
        "           warning: boat stands with water in 100%: CAMs will confuse them",
    ]


@pytest.mark.parametrize(
    ("train", "val", "both"), [("abcd", "de", 1), ("abcd", "cd", 0), ("ab", "abcd", 0), ("ab", "cd", 0)]
)
def test_lists_that_contain_each_other_are_no_overlap(train: str, val: str, both: int) -> None:
    found = report({"train": train, "val": val}, {})
    assert found["in train and val"] == both
    assert any("stand in both" in line for line in found["warnings"]) == bool(both)
