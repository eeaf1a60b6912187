"""The data report: counts, sizes, and what is worth a warning."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from wsseg_cli.data.index import Entry, Index
from wsseg_cli.errors import DataError
from wsseg_cli.recipe.sections import DatasetSettings
from wsseg_cli.stages.class_warnings import name_warnings
from wsseg_cli.stages.data_report import data_report, report_lines
from wsseg_cli.stages.looks import Looked, conversions, seen_in_masks
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
        "           warning: train: 1 images show none of the classes: negatives in training, unless "
        "`train_cls.unlabelled: drop`",
        "           warning: boat appears with water in 100%: CAMs will confuse them",
    ]


@pytest.mark.parametrize(
    ("train", "val", "both"), [("abcd", "de", 1), ("abcd", "cd", 0), ("ab", "abcd", 0), ("ab", "cd", 0)]
)
def test_lists_that_contain_each_other_are_no_overlap(train: str, val: str, both: int) -> None:
    found = report({"train": train, "val": val}, {})
    assert found["in train and val"] == both
    assert any("stand in both" in line for line in found["warnings"]) == bool(both)


def test_a_class_on_nearly_all_images_is_said() -> None:
    found = report({"train": "abcd", "val": "e"}, dict.fromkeys("abcde", (1,)))
    assert [line for line in found["warnings"] if "water is on 4 of 4" in line]
    found = report({"train": "abcd", "val": "e"}, dict.fromkeys("abc", (1,)) | {"d": ()})
    assert not [line for line in found["warnings"] if "is on" in line]


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["Cat", "cat"], "'Cat' and 'cat' are classes of their own; `rename: {'cat': 'Cat'}`"),
        (["hot dog", "hot  dog"], "'hot dog' and 'hot  dog'"),
        (["cat ", "dog"], "`rename: {'cat ': 'cat'}`"),
        (["cat", "dog", "cat, dog"], "made of the classes cat, dog; .*`separator: ', '`"),
        (["cat", "dog", "cat dog"], "`separator: ' '`"),
        (["cat", "dog", "dog/cat"], "`separator: '/'`"),
        (["cat", "dog", "cat+dog"], r"`separator: '\+'`"),
        (["cat", "dog", "Cat & Dog"], "`separator: ' & '`"),
        (["cat", "dog", "cat and dog"], "`separator: ' and '`"),
    ],
)
def test_names_that_look_like_a_mistake(names: list[str], said: str) -> None:
    (line,) = name_warnings(names)
    assert re.search(said, line)


def test_names_that_are_fine() -> None:
    assert name_warnings(["dog", "hot dog", "potted plant", "traffic light", "light", "plant"]) == []


def looks(*values: tuple[int, ...]) -> tuple[dict[str, Sample], dict[str, Looked]]:
    """Images whose masks hold these values, each labelled with both classes."""
    samples = {f"{n}": Sample(f"{n}", Path("a.jpg"), (0, 1), Path(f"{n}.png")) for n in range(len(values))}
    found = {
        f"{n}": Looked((6, 8), tuple(v - 1 for v in held if 0 < v < 255), 255 in held, "")
        for n, held in enumerate(values)
    }
    return samples, found


def test_masks_of_0_and_255_are_refused() -> None:
    classes = ClassNames(["cat", "dog"])
    with pytest.raises(DataError, match=r"2 masks hold 255 and none of 3 .*convert masks .*--form rgb --colours"):
        seen_in_masks(*looks((0, 255), (0,), (255,)), classes)
    assert seen_in_masks(*looks((0, 1, 255), (0, 2)), classes) == {
        "labels that disagree with masks": 2,
        "in no mask": {},
    }


def test_labelled_classes_that_no_mask_shows_are_said() -> None:
    found = seen_in_masks(*looks((0, 1, 255), (0, 1)), ClassNames(["cat", "dog"]))
    assert found["in no mask"] == {"dog": 2}


def test_converted_photos_are_counted() -> None:
    looked = [Looked((6, 8), None, False, mode) for mode in ("CMYK", "", "16-bit", "CMYK")]
    assert conversions(looked) == {"photos converted to 8-bit RGB": "1 16-bit, 2 CMYK"}
