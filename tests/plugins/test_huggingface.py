from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from huggingface_files import NAMES, QUIET, datasets, imagefolder, offline, parquet, photo, picture
from PIL import Image
from wsseg_datasets.huggingface import HuggingFace

from wsseg_cli.data.images import read_mask
from wsseg_cli.errors import DataError

__all__ = ["offline"]

pytestmark = QUIET


def plugin(path: Path, work: Path, **options: Any) -> HuggingFace:
    return HuggingFace(HuggingFace.Options(path=str(path), **options), work)


def test_imagefolder(tmp_path: Path) -> None:
    data = plugin(imagefolder(tmp_path / "data"), tmp_path / "work")
    assert tuple(data.classes()) == NAMES
    train, val = list(data.samples("train")), list(data.samples("val"))
    assert [(s.image_id, s.labels) for s in train] == [("a", (1, 2)), ("sub/b", (0,))]
    assert [(s.image_id, s.labels) for s in val] == [("c", (1,))]
    assert all(s.image.is_relative_to(tmp_path / "data") for s in train)
    mask = train[0].mask
    assert mask is not None and read_mask(mask).tolist() == [[2] * 8] * 6
    with pytest.raises(DataError, match=r"no split 'test'; there are train"):
        list(data.samples("test"))


def test_class_folders(tmp_path: Path) -> None:
    for name in ("sofa/1", "dog/2"):
        for split in ("train", "test"):
            photo(tmp_path / "data" / split / f"{name}.png")
    data = plugin(tmp_path / "data", tmp_path / "work")
    assert list(data.classes()) == ["dog", "sofa"]
    assert {s.image_id: s.labels for s in data.samples("test")} == {"dog/2": (0,), "sofa/1": (1,)}


@pytest.mark.parametrize(("orientation", "with_masks"), [(6, 1), (3, 3)])
def test_exif(tmp_path: Path, orientation: int, with_masks: int) -> None:
    turned = plugin(imagefolder(tmp_path / "without", masks=False, orientation=orientation), tmp_path / "a")
    assert [s.orientation for s in turned.samples("train")] == [orientation, orientation]
    assert turned.facts()["EXIF orientation in train"].startswith("2 photos have one: 2 turned")
    stored = plugin(imagefolder(tmp_path / "with", orientation=orientation), tmp_path / "b")
    # masks of the stored size say something only where turned photos have another
    assert [s.orientation for s in stored.samples("train")] == [with_masks, with_masks]


@pytest.mark.parametrize(
    "line",
    ["null", "[1]", '{"file_name": ' + "[" * 5000 + "]" * 5000 + "}", '{"file_name": "a\\u0000b.jpg", "labels": []}'],
)
def test_lines_that_bring_arrow_down(tmp_path: Path, line: str) -> None:
    table = imagefolder(tmp_path / "data") / "train" / "metadata.jsonl"
    table.write_text(line + "\n" + table.read_text())
    with pytest.raises(DataError, match=r"metadata\.jsonl|cannot read it|outside"):
        list(plugin(tmp_path / "data", tmp_path / "work").samples("train"))


def rows(root: Path, cells: list[dict[str, Any]], split: str = "train") -> Path:
    for number, cell in enumerate(cells):
        photo(root / split / f"{number}.jpg")
        cell["file_name"] = f"{number}.jpg"
    (root / split / "metadata.jsonl").write_text("".join(json.dumps(cell) + "\n" for cell in cells))
    return root


def labels_of(data: HuggingFace, split: str = "train") -> list[tuple[int, ...]]:
    return [s.labels for s in data.samples(split)]


@pytest.mark.parametrize(
    ("cells", "labels"),
    [
        ([[1, 0, 1], [0, 1, 0], [0, 0, 0]], [(0, 2), (1,), ()]),
        ([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]], [(0, 2), ()]),
        ([[True, False, True], [False, False, True]], [(0, 2), (2,)]),
        (["[1, 0, 1]", "[0, 0, 0]"], [(0, 2), ()]),
        (["1 0 1", "0 0 0"], [(0, 2), ()]),
        ([[1, 0], [2], []], [(0, 1), (2,), ()]),
        ([[0, 1, 2], [2, 1, 0]], [(0, 1, 2), (0, 1, 2)]),
        ([2, 0, -1], [(2,), (0,), ()]),
        (["cat, sofa", "dog", ""], [(0, 2), (1,), ()]),
        (["['cat', 'sofa']", "[]"], [(0, 2), ()]),
    ],
)
def test_what_a_cell_says(tmp_path: Path, cells: list[Any], labels: list[tuple[int, ...]]) -> None:
    root = rows(tmp_path / "data", [{"labels": cell} for cell in cells])
    assert labels_of(plugin(root, tmp_path / "work", classes=NAMES)) == labels


def test_vectors_are_told_over_all_lists(tmp_path: Path) -> None:
    root = rows(tmp_path / "data", [{"labels": [0, 1]}, {"labels": [1]}])
    rows(root, [{"labels": [0, 1]}], "validation")
    assert labels_of(plugin(root, tmp_path / "work", classes=("a", "b")), "val") == [(0, 1)]


@pytest.mark.parametrize(("cells", "count"), [([[1, 0, 1, 0], [1, 0, 0, 1]], 2), ([[2, 2], [1, 0]], 1)])
def test_a_number_that_stands_twice_is_refused(tmp_path: Path, cells: list[Any], count: int) -> None:
    data = plugin(rows(tmp_path / "data", [{"labels": cell} for cell in cells]), tmp_path / "work", classes=NAMES)
    with pytest.raises(DataError, match=r"row 0: labels .* repeat a number"):
        labels_of(data)
    data.bad = {}
    assert len(labels_of(data)) == 2 - count and len(data.bad) == count


@pytest.mark.parametrize("key", ["categories", "category", "label"])
def test_objects(tmp_path: Path, key: str) -> None:
    cells = [{"objects": {"bbox": [[0, 0, 1, 1]] * len(c), key: c}} for c in ([1, 1, 0], [2], [])]
    assert labels_of(plugin(rows(tmp_path / "a", cells), tmp_path / "work", classes=NAMES)) == [(0, 1), (2,), ()]
    named = [{"objects": [{"bbox": [0, 0, 1, 1], key: name} for name in c]} for c in (["dog", "cat"], ["sofa"])]
    assert labels_of(plugin(rows(tmp_path / "b", named), tmp_path / "work2")) == [(0, 1), (2,)]


def test_objects_without_a_class(tmp_path: Path) -> None:
    root = rows(tmp_path / "data", [{"objects": {"bbox": [[0, 0, 1, 1]]}}])
    with pytest.raises(DataError, match="objects without one of category"):
        plugin(root, tmp_path / "work").classes()


def test_a_column_for_each_class(tmp_path: Path) -> None:
    root = rows(tmp_path / "data", [{"cat": 1, "dog": 0, "sofa": 1}, {"cat": 0, "dog": 0, "sofa": 0}])
    data = plugin(root, tmp_path / "work")
    assert tuple(data.classes()) == NAMES and labels_of(data) == [(0, 2), ()]
    assert labels_of(plugin(root, tmp_path / "work", classes=("sofa", "cat"))) == [(0, 1), ()]


def test_background_is_no_class(tmp_path: Path) -> None:
    kind = datasets.ClassLabel(names=["background", "cat"])
    columns = {
        "image": {"feature": datasets.Image(), "values": [picture(seed=1), picture(seed=2)]},
        "label": {"feature": kind, "values": [0, 1]},
    }
    root = parquet(tmp_path / "data", columns)
    with pytest.raises(DataError, match="'background' cannot be a class"):
        plugin(root, tmp_path / "a").classes()
    for words in ({"classes": ("cat",)}, {"rename": {"background": None}}):
        data = plugin(root, tmp_path / "b", **words)
        assert tuple(data.classes()) == ("cat",) and labels_of(data) == [(), (0,)]


def test_an_empty_cell_says_nothing_and_an_empty_list_says_no_class(tmp_path: Path) -> None:
    root = rows(tmp_path / "data", [{"labels": ["cat"]}, {"labels": []}, {"labels": None}])
    assert [s.labelled for s in plugin(root, tmp_path / "work").samples("train")] == [True, True, False]


@pytest.mark.parametrize(("size", "turn"), [((8, 6), 1), ((6, 8), 6)], ids=["as stored", "turned"])
def test_saliency(tmp_path: Path, size: tuple[int, int], turn: int) -> None:
    root = imagefolder(tmp_path / "data", masks=False, orientation=6)
    (tmp_path / "maps" / "sub").mkdir(parents=True)
    for name in ("a", "sub/b", "c"):
        Image.new("L", size).save(tmp_path / "maps" / f"{name}.png")
    samples = list(plugin(root, tmp_path / "work", saliency=tmp_path / "maps").samples("train"))
    assert [s.extras["saliency"] for s in samples] == [tmp_path / "maps" / "a.png", tmp_path / "maps" / "sub" / "b.png"]
    assert [s.orientation for s in samples] == [turn, turn]
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        list(plugin(root, tmp_path / "work", saliency=tmp_path / "nowhere").samples("train"))


def test_bytes_inside_of_parquet_and_numbers(tmp_path: Path) -> None:
    pictures = [picture("a.jpg", 1), picture("b.jpg", 2), picture("c.jpg", 3)]
    root = parquet(
        tmp_path / "data",
        {
            "image": {"values": pictures, "feature": datasets.Image()},
            "label": {"values": [1, 0, -1], "feature": datasets.ClassLabel(names=["sofa", "dog"])},
        },
    )
    samples = list(plugin(root, tmp_path / "work").samples("train"))
    assert [(s.image_id, s.labels) for s in samples] == [("a", (1,)), ("b", (0,)), ("c", ())]
    assert [s.image.read_bytes() for s in samples] == [p["bytes"] for p in pictures]
    other = plugin(root, tmp_path / "work", classes=("dog", "sofa"))
    assert [s.labels for s in other.samples("train")] == [(0,), (1,), ()]


def test_names_that_are_no_ids(tmp_path: Path) -> None:
    columns = {
        "photo": {"values": [picture("x.jpg", 1), picture("../../x.jpg", 2)], "feature": datasets.Image()},
        "key": {"values": ["../../evil", "b"], "feature": datasets.Value("string")},
        "tags": {"values": ["dog;sofa", ""], "feature": datasets.Value("string")},
    }
    root = parquet(tmp_path / "data", columns)
    samples = list(plugin(root, tmp_path / "work", image="photo").samples("train"))
    assert [(s.image_id, s.labels) for s in samples] == [("train-000000", (0, 1)), ("train-000001", ())]
    named = list(plugin(root, tmp_path / "work2", image="photo", id="key").samples("train"))
    assert [s.image_id for s in named] == ["../../evil", "b"]
    assert all(s.image.resolve().is_relative_to(tmp_path / "work2") and s.image.is_file() for s in named)


def test_what_does_not_fit(tmp_path: Path) -> None:
    columns = {
        "image": {"values": [picture("a.jpg")], "feature": datasets.Image()},
        "labels": {"values": [[0, 5]], "feature": datasets.List(datasets.Value("int64"))},
    }
    root = parquet(tmp_path / "data", columns)
    with pytest.raises(DataError, match="without names"):
        plugin(root, tmp_path / "w").classes()
    with pytest.raises(DataError, match="row 0: label 5 is out of range for 2 classes"):
        list(plugin(root, tmp_path / "w", classes=("dog", "cat")).samples("train"))
    with pytest.raises(DataError, match="no column 'photo' of pictures; there are image"):
        plugin(root, tmp_path / "w", image="photo").classes()
    with pytest.raises(DataError, match="no column names for the labels"):
        plugin(root, tmp_path / "w", labels="names").classes()
    with pytest.raises(DataError, match="no such folder"):
        plugin(tmp_path / "nowhere", tmp_path / "w").classes()
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="cannot read it"):
        plugin(tmp_path / "empty", tmp_path / "w").classes()


def test_file_outside_of_the_data_set(tmp_path: Path) -> None:
    photo(tmp_path / "secret.jpg")
    columns = {
        "image": {"values": [{"bytes": None, "path": str(tmp_path / "secret.jpg")}], "feature": datasets.Image()},
        "label": {"values": ["dog"], "feature": datasets.Value("string")},
    }
    root = tmp_path / "data"
    (root / "data").mkdir(parents=True)
    import pyarrow as pa
    import pyarrow.parquet as pq

    pictures = pa.array(columns["image"]["values"], pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
    table = pa.table({"image": pictures, "label": ["dog"]})
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    table = table.replace_schema_metadata(features.arrow_schema.metadata)
    pq.write_table(table, root / "data" / "train-00000-of-00001.parquet")
    with pytest.raises(DataError, match="outside of the data set"):
        list(plugin(root, tmp_path / "w").samples("train"))


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    paths = pa.Array.from_buffers(pa.string(), 1, pa.array([b"\x8f.jpg"], pa.binary()).buffers())
    pictures = pa.StructArray.from_arrays([pa.array([picture()["bytes"]], pa.binary()), paths], ["bytes", "path"])
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("string")})
    table = pa.table({"image": pictures, "label": ["dog"]})
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "train-00000-of-00001.parquet"
    pq.write_table(table.replace_schema_metadata(features.arrow_schema.metadata), file)
    with pytest.raises(DataError, match=r"cannot read it \(ArrowInvalid.*UTF8"):
        list(plugin(tmp_path, tmp_path / "w").samples("train"))
