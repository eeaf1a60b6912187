from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from golden_cases import Case, golden
from PIL import Image
from published import boxes_of
from wsseg_datasets.rsepm import RSEPM
from wsseg_datasets.voc_xml import kept, labels_of, parse_objects

from wsseg_cli.errors import DataError
from wsseg_cli.types import ClassNames

VOC = ClassNames(
    ("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow", "diningtable", "dog",
     "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor")
)  # fmt: skip


@golden("rsepm-xml-labels")
def test_objects_and_labels(case: Case) -> None:
    got = {}
    for name in ("0", "1"):
        objects = parse_objects(str(case.inputs[f"xml_{name}"]).encode(), name)
        for keep in (0, 1):
            chosen = kept(objects, difficult=bool(keep), flat=False)
            got[f"boxes_{name}_keep{keep}"] = boxes_of(chosen)
            got[f"label_{name}_keep{keep}"] = np.isin(np.arange(len(VOC)), labels_of(chosen, VOC)).astype(np.float32)
    case.check_all(got)


def note(*names: str, size: str = "<width>20</width><height>10</height>") -> str:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    objects = "".join(f"<object><name>{name}</name>{box}</object>" for name in names)
    return f"<annotation><size>{size}</size>{objects}</annotation>"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no xml",
        "<annotation>",
        "<html/>",
        note(""),
        '<!DOCTYPE a [<!ENTITY b "c">]>' + note("&b;"),
    ],
)
def test_broken_annotations(text: str) -> None:
    with pytest.raises(DataError, match="note"):
        parse_objects(text.encode(), "note")


def tree(root: Path) -> Path:
    for split, names in {"train": ("b", "a"), "validation": ("c",)}.items():
        for part in ("image", "mask", "xml"):
            (root / split / part).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (20, 10)).save(root / split / "image" / f"{name}.jpg")
            Image.new("L", (20, 10)).save(root / split / "mask" / f"{name}.png")
            (root / split / "xml" / f"{name}.xml").write_text(note("dog", "cat") if name == "a" else note("sofa"))
    (root / "test" / "image").mkdir(parents=True)
    Image.new("RGB", (20, 10)).save(root / "test" / "image" / "d.jpg")
    return root


def test_lists_are_folders(tmp_path: Path) -> None:
    data = RSEPM(RSEPM.Options(root=tree(tmp_path / "data")), tmp_path)
    assert list(data.classes()) == ["cat", "dog", "sofa"]
    assert [(s.image_id, s.labels) for s in data.samples("train")] == [("a", (0, 1)), ("b", (2,))]
    (val,) = data.samples("val")
    assert val.labels == (2,) and val.mask is not None and val.mask.is_file() and val.image.is_file()
    (test,) = data.samples("test")
    assert test.labels == () and test.mask is None
    with pytest.raises(DataError, match="train_aug"):
        list(data.samples("train_aug"))
    with pytest.raises(DataError, match="no split"):
        list(data.samples("../data/train"))


def test_named_classes_and_missing_annotation(tmp_path: Path) -> None:
    root = tree(tmp_path / "data")
    names = tmp_path / "VOC.json"
    names.write_text('{"class_names": ["background", "sofa", "dog"], "num_classes": 3}')
    data = RSEPM(RSEPM.Options(root=root, classes=names), tmp_path)
    assert list(data.classes()) == ["sofa", "dog"]
    with pytest.raises(DataError, match=r"a\.xml.*unknown class 'cat'"):
        list(data.samples("train"))
    (root / "validation" / "xml" / "c.xml").unlink()
    with pytest.raises(DataError, match=r"c\.xml"):
        list(data.samples("val"))
