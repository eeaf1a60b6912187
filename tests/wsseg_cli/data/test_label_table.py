from __future__ import annotations

from pathlib import Path

import pytest

from wsseg_cli.data.class_files import read_class_names
from wsseg_cli.data.label_table import read_label_table, without_suffix, write_label_table
from wsseg_cli.errors import DataError


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_there_and_back(tmp_path: Path, suffix: str) -> None:
    table = {"a/b.jpg": ["dog", "hot dog"], 'c "x", d': ["sofa, red"], "e": []}
    write_label_table(tmp_path / f"t{suffix}", table)
    assert read_label_table(tmp_path / f"t{suffix}") == table


def test_what_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="dog;cat"):
        write_label_table(tmp_path / "out.csv", {"a": ["dog;cat"]})
    with pytest.raises(DataError, match=r"\.csv or \.jsonl"):
        write_label_table(tmp_path / "out.txt", {})


def test_names_without_suffix() -> None:
    assert [without_suffix(name) for name in ("a/b.JPG", "a.b", "2007_000032")] == ["a/b", "a.b", "2007_000032"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.txt", "dog\nhot dog\n"),
        ("c.txt", "0 background\n1 dog\n2 hot dog\n"),
        ("c.txt", "1 dog\n2 hot dog\n"),
        ("c.json", '["background", "dog", "hot dog"]'),
        ("c.json", '{"class_names": ["background", "dog", "hot dog"], "num_classes": 3}'),
    ],
)
def test_class_names(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert list(read_class_names(tmp_path / name)) == ["dog", "hot dog"]


@pytest.mark.parametrize(("name", "text"), [("c.json", "{"), ("c.json", "[1]"), ("c.txt", ""), ("c.txt", "a\na\n")])
def test_broken_class_names(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError):
        read_class_names(tmp_path / name)
