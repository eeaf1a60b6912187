"""Samples of several splits: equal ones are one, other photos of one id are told apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from wsseg_cli.errors import DataError
from wsseg_cli.plugin.protocols import Dataset, PluginOptions
from wsseg_cli.stages.collect import collect
from wsseg_cli.types import Sample


class Fixed(Dataset[Any]):
    """Yields what it was given; a string is an entry that cannot be used."""

    def __init__(self, splits: dict[str, list[Sample | str]]) -> None:
        super().__init__(PluginOptions(), Path("work"))
        self.splits = splits

    def samples(self, split: str) -> Iterator[Sample]:
        for sample in self.splits[split]:
            if isinstance(sample, str):
                self.leave_out(sample, f"{sample} is broken")
            else:
                yield sample


def sample(folder: str, name: str = "1", **values: Any) -> Sample:
    return Sample(name, Path(folder) / f"{name}.jpg", values.pop("labels", (0,)), **values)


def test_equal_samples_are_one_and_stand_in_both_splits() -> None:
    found = collect(Fixed({"train": [sample("a")], "aug": [sample("a"), sample("a", "2")]}), ["train", "aug"])
    assert found.member_of == {"1": ["train", "aug"], "2": ["aug"]} and found.told_apart == 0


def test_other_photos_of_one_id_get_the_name_of_their_split() -> None:
    splits: dict[str, list[Sample | str]] = {
        "train": [sample("a"), sample("a", "2")],
        "aug": [sample("a")],
        "val": [sample("b"), sample("b", "3")],
    }
    found = collect(Fixed(splits), ["train", "aug", "val"])
    assert {i: (s.image_id, s.image.parent.name) for i, s in found.samples.items()} == {
        "train/1": ("train/1", "a"),
        "val/1": ("val/1", "b"),
        "2": ("2", "a"),
        "3": ("3", "b"),
    }
    assert found.member_of["train/1"] == ["train", "aug"] and found.told_apart == 1


def test_ids_that_the_run_has_already() -> None:
    data = Fixed({"test": [sample("c"), sample("a", "2")]})
    taken = {"1": Path("a/1.jpg").absolute(), "2": Path("a/2.jpg").absolute()}
    assert set(collect(data, ["test"], taken).samples) == {"test/1", "2"}


@pytest.mark.parametrize(
    ("splits", "message"),
    [
        ({"train": [sample("a"), sample("b")]}, "'1' occurs twice in split 'train'"),
        ({"train": [sample("a")], "val": [sample("a", labels=(1,))]}, "other files or labels in split 'val'"),
        ({"train": [sample("a")], "val": [sample("b")], "x": [sample("a", "train/1")]}, "would stand for two photos"),
        (
            {"train": [sample("a", mask=Path("m/1.png"))], "val": [sample("b", mask=Path("m/1.png"))]},
            "one map for all of them.*folder of the split's name",
        ),
        ({"train": [sample("a")], "val": []}, "'val' lists no images"),
        ({"train": ["x"]}, "x is broken"),
    ],
)
def test_what_is_refused(splits: dict[str, list[Sample | str]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        collect(Fixed(splits), list(splits))


def test_bad_entries_are_collected() -> None:
    data = Fixed({"train": ["x", sample("a"), "y"], "val": ["z"]})
    data.bad = {}
    assert set(collect(data, ["train", "val"]).samples) == {"1"}
    assert data.bad == {name: f"{name} is broken" for name in "xyz"}


def test_labels_are_sorted() -> None:
    found = collect(Fixed({"train": [replace(sample("a"), labels=(2, 0, 2))]}), ["train"])
    assert found.samples["1"].labels == (0, 2)
