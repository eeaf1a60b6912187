from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from dev_data import dev_data
from end_to_end.layouts import RECIPE
from PIL import Image
from typer.testing import CliRunner
from wsseg_datasets.huggingface import HuggingFace
from wsseg_datasets.voc import CLASSES

from wsseg_cli.data.images import read_mask
from wsseg_cli.data.index import Index, read_index
from wsseg_cli.data.label_table import write_label_table
from wsseg_cli.data.loader import training_batches
from wsseg_cli.data.stores import write_mask
from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.errors import DataError
from wsseg_cli.main import app
from wsseg_cli.plugin.protocols import PluginOptions, Requirements, Trainable, TrainingJob, Transform
from wsseg_cli.settings import AugmentSettings, OptimSettings, TrainSettings

datasets = pytest.importorskip("datasets")

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")

NAMES = ("cat", "dog", "sofa")
LISTS: dict[str, dict[str, tuple[str, ...]]] = {
    "train": {"a": ("dog", "sofa"), "sub/b": ("cat",)},
    "val": {"c": ("dog",)},
}


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Keep the library from the network and from the home folder."""
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "elsewhere")
    yield
    assert not (tmp_path / "elsewhere").exists()


def photo(path: Path, orientation: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = np.random.default_rng(len(path.name)).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, exif=exif)


def imagefolder(root: Path, masks: bool = True, orientation: int = 1) -> Path:
    for split, images in LISTS.items():
        rows = []
        for image_id, names in images.items():
            photo(root / split / f"{image_id}.jpg", orientation)
            row: dict[str, Any] = {"file_name": f"{image_id}.jpg", "labels": list(names)}
            if masks:
                write_mask(root / split / "masks" / f"{image_id}.png", np.full((6, 8), 2, np.uint8))
                row["mask_file_name"] = f"masks/{image_id}.png"
            rows.append(json.dumps(row))
        (root / split / "metadata.jsonl").write_text("\n".join(rows) + "\n")
    return root


def parquet(root: Path, columns: dict[str, Any], split: str = "train") -> Path:
    features = {name: values.pop("feature") for name, values in columns.items()}
    table = datasets.Dataset.from_dict(
        {name: values["values"] for name, values in columns.items()}, features=datasets.Features(features)
    )
    (root / "data").mkdir(parents=True, exist_ok=True)
    table.to_parquet(str(root / "data" / f"{split}-00000-of-00001.parquet"))
    return root


def picture(path: str | None = None, seed: int = 0) -> dict[str, Any]:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)).save(buffer, "JPEG")
    return {"bytes": buffer.getvalue(), "path": path}


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
    with pytest.raises(DataError, match=r"row 0: labels .* have a number twice"):
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
    with pytest.raises(DataError, match="row 0: label 5 with 2 classes"):
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


class Photo(NamedTuple):
    """A photo, its mask, and the names that it is labelled with."""

    photo: Path
    mask: Path
    names: list[str]


class Reader(Trainable[PluginOptions, Any]):
    """Reads photos and masks as a method would."""

    @classmethod
    def requirements(cls, options: PluginOptions) -> Requirements:
        return Requirements(training=frozenset({"mask"}))

    def train_transform(self, augment: AugmentSettings) -> Transform:
        return classification_transform(augment, with_=("mask",))


def first_batch(index: Index) -> dict[str, Any]:
    augment = AugmentSettings(resize_long=(160, 256), flip=0.5, color_jitter=(0.3, 0.3, 0.3, 0.1), crop=128)
    settings = TrainSettings(weights="none", augment=augment, batch_size=8, max_steps=1, optim=OptimSettings(lr=0.1))
    samples = index.samples("train")
    stage = TrainingJob(Path(), samples, index.classes, settings, seed=3)
    reader = Reader(PluginOptions(), index.classes)
    (batch,) = next(training_batches(stage, reader, samples, range(1), workers=0, rank=0, world=1, pin=False))
    return batch


def prepared(folder: Path, name: str, options: dict[str, Any]) -> tuple[list[dict[str, Any]], Index]:
    """Return what `wsseg prepare` writes about a data set: the lines of its index, paths apart, and the index."""
    folder.mkdir()
    dataset = {"name": name, "options": options, "train": "train", "val": "val"}
    recipe = folder / "r.yaml"
    recipe.write_text(RECIPE.replace("DATASET", json.dumps(dataset, default=str)))
    words = ["prepare", "--recipe", str(recipe), "--run", str(folder / "run"), "--quiet"]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    lines = [json.loads(line) for line in (folder / "run" / "prepare" / "index.jsonl").read_text().splitlines()]
    rows = [{key: value for key, value in line.items() if key not in ("image", "mask")} for line in lines]
    return rows, read_index(folder / "run" / "prepare")


def made_photos(root: Path) -> dict[str, list[Photo]]:
    """Photos of several sizes, with labels that their masks need not show."""
    rng = np.random.default_rng(0)
    lists: dict[str, list[Photo]] = {"train": [], "val": []}
    for number in range(14):
        path, mask = root / f"p{number}.jpg", root / f"p{number}.png"
        root.mkdir(exist_ok=True)
        size = (60 + 7 * number, 150 - 5 * number)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        write_mask(mask, rng.integers(0, 4, size, dtype=np.uint8))
        names = [name for name in NAMES if rng.random() < 0.6] or ["dog"]
        lists["val" if number % 4 == 3 else "train"].append(Photo(path, mask, names))
    return lists


def minivoc(_: Path) -> dict[str, list[Photo]]:
    source = dev_data("minivoc")
    labels = json.loads((source / "labels.json").read_text())
    return {
        split: [
            Photo(source / "JPEGImages" / f"{i}.jpg", source / "SegmentationClass" / f"{i}.png", labels[i])
            for i in sorted((source / "ImageSets" / "Segmentation" / f"{split}.txt").read_text().split())
        ]
        for split in ("train", "val")
    }


@pytest.mark.parametrize("photos", [made_photos, minivoc])
def test_three_forms_are_one_data_set(tmp_path: Path, photos: Callable[[Path], dict[str, list[Photo]]]) -> None:
    """A folder with a table, an imagefolder and parquet give the same index and the same first batch, bit for bit."""
    lists = photos(tmp_path / "source")
    classes = NAMES if photos is made_photos else CLASSES
    table, hub, packed = tmp_path / "table", tmp_path / "imagefolder", tmp_path / "parquet"
    (table / "masks").mkdir(parents=True)
    for split, entries in lists.items():
        (hub / split / "masks").mkdir(parents=True)
        rows = []
        for photo, mask, names in entries:
            for folder in (table, hub / split):
                shutil.copy(photo, folder / photo.name)
                shutil.copy(mask, folder / "masks" / mask.name)
            rows.append({"file_name": photo.name, "mask_file_name": f"masks/{mask.name}", "labels": names})
        (hub / split / "metadata.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        (table / f"{split}.txt").write_text("".join(f"{photo.stem}\n" for photo, *_ in entries))
        image, mask_column = (
            [{"bytes": path.read_bytes(), "path": path.name} for path in part]
            for part in ([e.photo for e in entries], [e.mask for e in entries])
        )
        labels = {"values": [e.names for e in entries], "feature": datasets.List(datasets.Value("string"))}
        pictures = {
            name: {"values": column, "feature": datasets.Image()}
            for name, column in (("image", image), ("mask", mask_column))
        }
        parquet(packed, {**pictures, "labels": labels}, split)
    write_label_table(table / "labels.csv", {e.photo.name: e.names for entries in lists.values() for e in entries})
    options = {"root": table, "labels": "labels.csv", "masks": "masks", "classes": classes}
    forms = {
        "folder": ("folder", options | {"lists": {split: f"{split}.txt" for split in lists}}),
        "imagefolder": ("huggingface", {"path": hub, "classes": classes}),
        "parquet": ("huggingface", {"path": packed, "classes": classes}),
    }
    (rows, index), *others = (prepared(tmp_path / f"run-{form}", *given) for form, given in forms.items())
    assert [row["id"] for row in rows] == [e.photo.stem for entries in lists.values() for e in entries]
    batch = first_batch(index)
    assert len(batch["image_id"]) == 8
    for other_rows, other in others:
        assert other_rows == rows and other.classes == index.classes
        for image_id, entry in index.entries.items():
            same = other.entries[image_id].sample
            assert same.image.read_bytes() == entry.sample.image.read_bytes()
            assert same.mask is not None and entry.sample.mask is not None
            assert same.mask.read_bytes() == entry.sample.mask.read_bytes()
        found = first_batch(other)
        assert found.keys() == batch.keys() and found["image_id"] == batch["image_id"]
        for name in ("image", "label", "mask"):
            assert torch.equal(found[name], batch[name])
