"""VOC's annotations: what counts as difficult, boxes that are not there, encodings."""

from __future__ import annotations

import pytest
from voc_annotation import annotation
from wsseg_datasets.voc_xml import parse_objects

from wsseg_cli.errors import DataError


@pytest.mark.parametrize(
    ("word", "difficult"),
    [("1", True), ("true", True), ("True", True), (" 1 ", True)]
    + [(word, False) for word in ("0", "false", "False", "Unspecified", "", "no", "2")],
)
def test_what_counts_as_difficult(word: str, difficult: bool) -> None:
    text = annotation(("dog", 0)).replace("<difficult>0<", f"<difficult>{word}<")
    assert [o.difficult for o in parse_objects(text.encode(), "a")] == [difficult]


SHAPES = {
    "no box": "",
    "turned box": "<robndbox><cx>3</cx><cy>2</cy><w>2</w><h>1</h><angle>0.6</angle></robndbox>",
    "polygon": "<polygon><x1>1</x1><y1>1</y1><x2>4</x2><y2>1</y2></polygon>",
    "box without a corner": "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax></bndbox>",
    "box of words": "<bndbox><xmin>a</xmin><ymin>1</ymin><xmax>5</xmax><ymax>9</ymax></bndbox>",
}


@pytest.mark.parametrize("size", ["", "<size/>", "<size><width>0</width><height>0</height></size>"])
@pytest.mark.parametrize("shape", SHAPES)
def test_labels_need_neither_size_nor_box(size: str, shape: str) -> None:
    text = f"<annotation>{size}<object><name>dog</name>{SHAPES[shape]}</object></annotation>"
    (found,) = parse_objects(text.encode(), "a")
    assert (found.name, found.box, found.flat) == ("dog", None, False)


def test_a_box_without_a_size_is_kept_as_it_is() -> None:
    text = annotation(("dog", 0)).replace("<width>8</width><height>6</height>", "<width>0</width><height>0</height>")
    assert [o.box for o in parse_objects(text.encode(), "a")] == [(1, 1, 5, 5)]
    assert [o.box for o in parse_objects(annotation(("dog", 0)).replace(">5<", ">50<").encode(), "a")] == [(1, 1, 7, 5)]


@pytest.mark.parametrize(
    ("declared", "codec"),
    [
        *[("gb2312", "gb2312"), ("GBK", "gbk"), ("gb2312", "gb18030"), ("utf8", "utf-8"), ("UTF-8", "utf-8")],
        *[("big5", "big5"), ("shift_jis", "shift_jis"), ("windows-1252", "cp1252"), ("utf-16", "utf-16")],
        *[(None, "utf-8"), (None, "utf-8-sig"), ("gb2312", "utf-8"), ("nonsense", "utf-8"), ("UTF-8", "gb2312")],
    ],
)
def test_encodings_of_annotations(declared: str | None, codec: str) -> None:
    head = f'<?xml version="1.0" encoding="{declared}"?>\n' if declared else ""
    place = "Stühle" if codec == "cp1252" else "中文"
    text = head + annotation(("dog", 0)).replace("<size>", f"<folder>{place}</folder><size>")
    assert [o.name for o in parse_objects(text.encode(codec), "a")] == ["dog"]


def test_class_names_of_other_encodings() -> None:
    text = '<?xml version="1.0" encoding="{}"?>' + annotation(("中文", 0))
    assert [o.name for o in parse_objects(text.format("gb2312").encode("gb2312"), "a")] == ["中文"]
    with pytest.raises(DataError, match="another encoding"):
        parse_objects(text.format("UTF-8").encode("gb2312"), "a")
    with pytest.raises(DataError, match="document type"):
        parse_objects(('<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "c">]>' + text[40:]).encode("utf-16"), "a")
