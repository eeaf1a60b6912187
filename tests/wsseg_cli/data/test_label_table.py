from __future__ import annotations

from pathlib import Path

import pytest

from wsseg_cli.data.class_files import read_class_names
from wsseg_cli.data.label_table import read_label_table, write_label_table
from wsseg_cli.errors import DataError


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", 'image,labels\na/b.jpg,dog;sofa\nc.PNG,"cat, dog"\nd.e,\n'),
        ("t.csv", "\ufeffLabels,File_Name\r\ndog|sofa,a/b.jpg\r\ncat;dog;cat,c\r\n\r\n,d.e\r\n"),
        (
            "t.jsonl",
            '{"image": "a/b.jpg", "labels": ["dog", "sofa"]}\n\n{"id": "c", "label": "cat;dog"}\n'
            '{"id": "d.e", "labels": []}',
        ),
    ],
)
def test_forms(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text, encoding="utf-8")
    table = read_label_table(tmp_path / name)
    assert table == {"a/b": ("dog", "sofa"), "c": ("cat", "dog"), "d.e": ()}
    for suffix in ("csv", "jsonl"):
        write_label_table(tmp_path / f"again.{suffix}", table)
        assert read_label_table(tmp_path / f"again.{suffix}") == table


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("t.csv", "", "columns none"),
        ("t.csv", "a,b\n1,2\n", "columns a, b"),
        ("t.csv", "image,labels\na,dog,cat\n", "line 2"),
        ("t.csv", "image,labels\na,dog\na.jpg,cat\n", "line 3: image 'a' stands twice"),
        ("t.csv", "image,labels\n,dog\n", "line 2"),
        ("t.csv", 'image,labels\n"a,dog\n', "no CSV"),
        ("t.jsonl", "{", "line 1"),
        ("t.jsonl", "[]", "line 1"),
        ("t.jsonl", '{"image": "a", "labels": [1]}', "line 1"),
        ("t.jsonl", "[" * 99999, "line 1"),
    ],
)
def test_broken(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_label_table(tmp_path / name)


def test_no_text_and_no_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"\xff\xfe\x00\xd8")
    for name in ("t.csv", "other.csv"):
        with pytest.raises(DataError, match=name):
            read_label_table(tmp_path / name)
    with pytest.raises(DataError, match="separator"):
        write_label_table(tmp_path / "out.csv", {"a": ("dog;cat",)})
    with pytest.raises(DataError, match=r"\.csv or \.jsonl"):
        write_label_table(tmp_path / "out.txt", {})


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
