from __future__ import annotations

from pathlib import Path

import pytest

from wsseg_cli.data.class_files import read_class_names
from wsseg_cli.data.label_cells import names_in_cell
from wsseg_cli.data.label_table import read_label_table, without_suffix, write_label_table
from wsseg_cli.errors import DataError


@pytest.mark.parametrize("suffix", [".csv", ".jsonl"])
def test_there_and_back(tmp_path: Path, suffix: str) -> None:
    table = {"a/b.jpg": ["dog", "hot dog"], 'c "x", d': ["sofa"], "e": []}
    write_label_table(tmp_path / f"t{suffix}", table)
    assert read_label_table(tmp_path / f"t{suffix}") == table


def test_what_cannot_be_written(tmp_path: Path) -> None:
    for name in ("dog;cat", "sofa, red"):
        with pytest.raises(DataError, match=name):
            write_label_table(tmp_path / "out.csv", {"a": [name]})
        write_label_table(tmp_path / "out.jsonl", {"a": [name]})
        assert read_label_table(tmp_path / "out.jsonl") == {"a": [name]}
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
        ("c.txt", "__ignore__\n_background_\ndog\nhot dog\n"),
        ("c.json", '{"class_names": ["background", "dog", "hot dog"], "num_classes": 3}'),
    ],
)
def test_class_names(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert list(read_class_names(tmp_path / name)) == ["dog", "hot dog"]


@pytest.mark.parametrize(
    ("name", "text"),
    [("c.json", "{"), ("c.json", "[1]"), ("c.txt", ""), ("c.txt", "a\na\n"), ("c.txt", "dog\nBackground\n")],
)
def test_broken_class_names(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError):
        read_class_names(tmp_path / name)


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("cat, dog", ["cat", "dog"]),
        ("cat,dog", ["cat", "dog"]),
        ("cat; dog|sofa", ["cat", "dog", "sofa"]),
        ("cat，dog、sofa；cow", ["cat", "dog", "sofa", "cow"]),
        ("potted plant", ["potted plant"]),
        ("['cat', 'potted plant']", ["cat", "potted plant"]),
        ('["cat"]', ["cat"]),
        ("[]", []),
        (" ; ", []),
        ("1 0 1", ["1", "0", "1"]),
    ],
)
def test_names_in_a_cell(cell: str, names: list[str]) -> None:
    assert names_in_cell(cell) == names


def test_separators_and_names_that_stay_whole() -> None:
    assert names_in_cell("rocks, wet + sand", "+") == ["rocks, wet", "sand"]
    assert names_in_cell("rocks, wet;sand", classes=("rocks, wet", "sand")) == ["rocks, wet", "sand"]
    assert names_in_cell("rocks, wet", classes=("rocks, wet",)) == ["rocks, wet"]


EXPECTED = {"a.jpg": ["cat"], "b.jpg": ["cat", "dog"], "c.jpg": []}


@pytest.mark.parametrize(
    "text",
    [
        "image,labels\na.jpg,cat\nb.jpg,cat;dog\nc.jpg,\n",
        "image;labels\na.jpg;cat\nb.jpg;cat,dog\nc.jpg;\n",
        "sep=;\nimage;labels\na.jpg;cat\nb.jpg;cat|dog\nc.jpg;\n",
        "File_Name\tClass\na.jpg\tcat\nb.jpg\tcat, dog\nc.jpg\t\n",
        "filename,width,class,xmin\na.jpg,9,cat,1\nb.jpg,9,dog,2\nb.jpg,9,cat,3\nb.jpg,9,dog,4\nc.jpg,9,,\n",
        "filename, cat, dog\na.jpg, 1, 0\nb.jpg, 1, 1\nc.jpg, 0, 0\n",
        "image,cat,dog\na.jpg,True,False\nb.jpg,1.0,1\nc.jpg,,0\n",
    ],
    ids=["one cell", "semicolons", "Excel", "tabs", "a row per object", "a column per class", "bools"],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("ends", ["\n", "\r\n"])
def test_layouts_of_tables(tmp_path: Path, text: str, encoding: str, ends: str) -> None:
    (tmp_path / "l.csv").write_bytes(text.replace("\n", ends).encode(encoding))
    found = read_label_table(tmp_path / "l.csv")
    assert {image: sorted(names) for image, names in found.items()} == EXPECTED


def test_columns_of_classes_beside_others(tmp_path: Path) -> None:
    path = tmp_path / "l.csv"
    path.write_text("id,width,cat,dog\na,640,1,0\nb,480,0,1\n")
    assert read_label_table(path, classes=("dog", "cat")) == {"a": ["cat"], "b": ["dog"]}
    with pytest.raises(DataError, match=r"line 2: column 'width' holds '640'.*option `classes`"):
        read_label_table(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("l.jsonl", '{"image": "a", "labels": [1, 0, 1]}\n{"image": "b", "labels": [0, 0, 0]}\n'),
        ("l.jsonl", '{"file_name": "a", "label": [true, false, true]}\n{"file_name": "b", "label": []}\n'),
        ("l.csv", 'image,labels\na,"[1, 0, 1]"\nb,"[0, 0, 0]"\n'),
        ("l.csv", "image,labels\na,1 0 1\nb,0 0 0\n"),
    ],
)
def test_vectors_of_0_and_1(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_label_table(tmp_path / name, classes=("x", "y", "z")) == {"a": ["x", "z"], "b": []}
    for classes in ((), ("x", "y")):
        with pytest.raises(DataError, match=r"line [12]: labels of 'a'"):
            read_label_table(tmp_path / name, classes=classes)


def test_one_class_as_0_and_1(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("image,label\na,1\nb,0\n")
    assert read_label_table(tmp_path / "l.csv", classes=("crack",)) == {"a": ["crack"], "b": []}


def test_bad_lines_are_collected(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("image,labels\na,cat\nb,cat,dog\n,dog\n")
    (tmp_path / "l.jsonl").write_text('{"image": "a", "labels": ["cat"]}\n{\n{"image": 3}\n{"image": "b"}\n')
    for name, count in (("l.csv", 2), ("l.jsonl", 3)):
        bad: dict[str, str] = {}
        assert read_label_table(tmp_path / name, bad=bad) == {"a": ["cat"]}
        assert len(bad) == count and all(f"{name}, line" in reason for reason in bad.values())
        with pytest.raises(DataError, match="line"):
            read_label_table(tmp_path / name)


def test_other_encodings_are_refused_with_the_way_out(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_bytes("image,labels\na,Stühle\n".encode("cp1252"))
    with pytest.raises(DataError, match="CSV UTF-8"):
        read_label_table(tmp_path / "l.csv")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("photo,labels\na.jpg,dog\n", "columns image and labels; found 'photo', 'labels'"),
        ("image,labels\na.jpg,dog,cat\n", "line 2: 3 cells under 2 columns"),
        ("image,labels\n", "lists no images"),
        ("", "found nothing"),
    ],
)
def test_broken_tables(tmp_path: Path, text: str, message: str) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(text)
    with pytest.raises(DataError, match=message):
        read_label_table(table)


@pytest.mark.parametrize("line", ["{", "[1]", '{"image": 3}', '{"image": "a", "labels": 4}', '{"image": "a"}'])
def test_broken_json_lines(tmp_path: Path, line: str) -> None:
    table = tmp_path / "labels.jsonl"
    table.write_text('{"image": "b", "labels": []}\n' + line + "\n")
    with pytest.raises(DataError, match="line 2"):
        read_label_table(table)
