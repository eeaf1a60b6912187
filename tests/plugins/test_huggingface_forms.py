"""One data set in three forms, a folder with a table, an imagefolder and parquet: the same index, the same batches."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from dev_data import dev_data
from end_to_end.layouts import RECIPE
from huggingface_files import NAMES, QUIET, datasets, offline, parquet
from PIL import Image
from typer.testing import CliRunner
from wsseg_datasets.voc import CLASSES

from wsseg_cli.data.index import Index, read_index
from wsseg_cli.data.label_table import write_label_table
from wsseg_cli.data.loader import training_batches
from wsseg_cli.data.stores import write_mask
from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.main import app
from wsseg_cli.plugin.protocols import PluginOptions, Requirements, Trainable, TrainingJob, Transform
from wsseg_cli.settings import AugmentSettings, OptimSettings, TrainSettings

__all__ = ["offline"]

pytestmark = QUIET


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
