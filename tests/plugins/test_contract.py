"""Our own plugins keep the contract: the testers of a stranger's plugin walk all that is installed."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from small_networks import NETWORKS, TARGETS

from wsseg_cli import testing
from wsseg_cli.data.proposals import Proposals, ProposalStore
from wsseg_cli.plugin import ByteArray, TrainingJob
from wsseg_cli.plugin.discovery import Found, find, load_found
from wsseg_cli.plugin.requirements import learns

HOLDER = tempfile.TemporaryDirectory()
PROPOSALS = Path(HOLDER.name) / "proposals"
TESTERS: dict[str, type[testing.PluginTester]] = {
    "datasets": testing.DatasetTester,
    "methods": testing.MethodTester,
    "refiners": testing.RefinerTester,
    "segmenters": testing.SegmenterTester,
    "mask_refiners": testing.MaskRefinerTester,
}
OPTIONS: dict[str, list[dict[str, Any]]] = NETWORKS | {
    "refiners.crf": [{"power": 2.0}],
    "refiners.pamr": [{"iterations": 2}],
    "mask_refiners.sepl": [{"folder": PROPOSALS, "rule": rule} for rule in ("max_iou", "max_iou_imp2")],
}
"""Small options of every plugin."""


def photo(path: Path, seed: int = 0) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3)).astype(np.uint8)).save(path)


def mask(path: Path, value: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((12, 16), np.uint8)
    pixels[3:8, 3:8] = value
    Image.fromarray(pixels).save(path)


def voc(root: Path) -> dict[str, Any]:
    lists = root / "ImageSets" / "Segmentation"
    lists.mkdir(parents=True)
    for split in ("train", "val"):
        photo(root / "JPEGImages" / f"{split}.jpg")
        mask(root / "SegmentationClass" / f"{split}.png", 12)
        (lists / f"{split}.txt").write_text(f"{split}\n")
    return {"root": root, "labels": "masks"}


def folder(root: Path) -> dict[str, Any]:
    for number in range(20):
        photo(root / ("cat", "dog")[number % 2] / f"{number}.jpg", number)
    return {"root": root}


def coco(root: Path) -> dict[str, Any]:
    square = [[2, 2, 8, 2, 8, 8, 2, 8]]
    for split, number in (("train", 1), ("val", 2)):
        photo(root / f"{split}2014" / f"{number}.jpg")
        image = {"id": number, "file_name": f"{number}.jpg", "height": 12, "width": 16}
        note = {"id": 1, "image_id": number, "category_id": 7, "segmentation": square, "iscrowd": 0}
        content = {"categories": [{"id": 7, "name": "cat"}], "images": [image], "annotations": [note]}
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"instances_{split}2014.json").write_text(json.dumps(content))
    return {"root": root}


def rsepm(root: Path) -> dict[str, Any]:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
    size = "<size><width>16</width><height>12</height></size>"
    for split in ("train", "validation"):
        photo(root / split / "image" / f"{split}.jpg")
        mask(root / split / "mask" / f"{split}.png")
        (root / split / "xml").mkdir()
        note = f"<annotation>{size}<object><name>dog</name>{box}</object></annotation>"
        (root / split / "xml" / f"{split}.xml").write_text(note)
    return {"root": root}


def imagefolder(root: Path) -> dict[str, Any]:
    for split in ("train", "val"):
        photo(root / split / f"{split}.jpg")
        row = {"file_name": f"{split}.jpg", "labels": ["dog"]}
        (root / split / "metadata.jsonl").write_text(json.dumps(row) + "\n")
    return {"path": str(root)}


TREES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "toy": lambda root: {"train": 2, "val": 2, "size": (64, 64), "workers": 1},
    "voc": voc,
    "folder": folder,
    "coco": coco,
    "rsepm": rsepm,
    "huggingface": imagefolder,
}
"""Writes the smallest data set of each kind and returns the options that name it."""
SPLITS = {"rsepm": ("train", "validation")}


@cache
def data_options(name: str) -> Mapping[str, Any]:
    root = Path(HOLDER.name) / name
    root.mkdir()
    return TREES[name](root)


class OnDemand:
    """Options of a data set, whose files are written when they are first asked for."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, instance: object, owner: type) -> Mapping[str, Any]:
        return data_options(self.name)


def walking(plugin: Found, options: Any) -> type[testing.PluginTester]:
    cls = load_found(plugin)
    body: dict[str, Any] = {"plugin": cls, "options": options}
    key = f"{plugin.group}.{plugin.name}"
    if key in TARGETS:
        body["targets"] = lambda self, image, mask: TARGETS[key](mask)
    if plugin.group == "mask_refiners":
        body["prepare"] = lambda self, image_id, mask: proposals(image_id, mask)
    if plugin.group == "datasets":
        body["splits"] = SPLITS.get(plugin.name, ("train", "val"))
    return type(f"Test{cls.__name__}", (TESTERS[plugin.group],), body)


def proposals(image_id: str, mask: ByteArray) -> None:
    """Write what a mask refiner reads of an image: its mask's regions."""
    ProposalStore(PROPOSALS).write(image_id, Proposals.from_regions(mask))


OURS = [plugin for plugin in find() if plugin.builtin and plugin.group in TESTERS]
for found in OURS:
    given: list[Any] = [OnDemand(found.name)] if found.group == "datasets" else OPTIONS[f"{found.group}.{found.name}"]
    for number, one in enumerate(given):
        globals()[f"Test_{found.group}_{found.name}_{number}"] = walking(found, one)


def test_what_walks_is_what_is_installed() -> None:
    assert {f"{p.group}.{p.name}" for p in OURS if p.group != "datasets"} == set(OPTIONS)
    assert {p.name for p in OURS if p.group == "datasets"} == set(TREES)


@pytest.mark.parametrize("plugin", [p for p in OURS if p.group != "datasets"], ids=lambda p: f"{p.group}.{p.name}")
def test_what_trains_takes_a_training_job(plugin: Found) -> None:
    cls: Any = load_found(plugin)
    assert (
        plugin.group == "mask_refiners"
        or not learns(cls)
        or cls.train.__annotations__["job"] in (TrainingJob, "TrainingJob")
    )
