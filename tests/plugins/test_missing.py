"""What each data set says is missing before anything is read: every folder and list, and nothing where all is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from wsseg_cli.plugin import discovery
from wsseg_cli.plugin.protocols import Dataset


def data(kind: str, work: Path, **options: Any) -> Dataset:
    cls: Any = discovery.load("datasets", kind)
    return cls(cls.Options.model_validate_json(json.dumps(options, default=str)), work)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch() if path.suffix else path.mkdir()


def voc(root: Path) -> tuple[dict[str, Any], list[Path]]:
    lists = root / "ImageSets/Segmentation"
    (root / "JPEGImages").mkdir(parents=True)
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("a\nb\n")
    return {"root": root, "masks": "Masks", "saliency": "Maps"}, [lists / "val.txt", root / "Masks", root / "Maps"]


def coco(root: Path) -> tuple[dict[str, Any], list[Path]]:
    touch(root / "annotations/instances_train2014.json", root / "train2014")
    wanted = [root / "annotations/instances_val2014.json", root / "val2014", root / "Masks", root / "Maps"]
    return {"root": root, "masks": root / "Masks", "saliency": root / "Maps"}, wanted


def folder(root: Path) -> tuple[dict[str, Any], list[Path]]:
    touch(root / "train.txt")
    options = {"root": root, "labels": "l.csv", "masks": "Masks", "saliency": "Maps"}
    lists = {"lists": {"train": "train.txt", "val": "val.txt"}}
    return options | lists, [root / "l.csv", root / "Masks", root / "Maps", root / "val.txt"]


def rsepm(root: Path) -> tuple[dict[str, Any], list[Path]]:
    touch(root / "train/image")
    return {"root": root, "saliency": root / "Maps"}, [root / "val/image", root / "Maps"]


def huggingface(root: Path) -> tuple[dict[str, Any], list[Path]]:
    return {"path": root / "photos", "saliency": root / "Maps"}, [root / "photos", root / "Maps"]


@pytest.mark.parametrize("made", [voc, coco, folder, rsepm, huggingface], ids=lambda made: made.__name__)
def test_all_that_is_missing_is_named_at_once(made: Any, tmp_path: Path) -> None:
    options, wanted = made(tmp_path / "data")
    found = data(made.__name__, tmp_path / "work", **options).missing(("train", "val"))
    assert len(found) == len(wanted), found
    touch(*wanted)
    if made is voc:
        wanted[0].write_text("c\n")
    assert data(made.__name__, tmp_path / "work", **options).missing(("train", "val")) == []
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("made", [voc, coco, folder, rsepm, huggingface], ids=lambda made: made.__name__)
def test_without_its_root_a_data_set_says_so(made: Any, tmp_path: Path) -> None:
    options = made(tmp_path / "data")[0]
    root = "path" if made is huggingface else "root"
    gone = data(made.__name__, tmp_path / "work", **options | {root: tmp_path / "gone"})
    assert any(str(tmp_path / "gone") in line for line in gone.missing(("train",)))


def test_the_toy_scenes_need_nothing(tmp_path: Path) -> None:
    assert data("toy", tmp_path).missing(("train", "val")) == []


def test_splits_that_a_folder_cannot_draw(tmp_path: Path) -> None:
    assert "no split 'test'" in data("folder", tmp_path, root=tmp_path).missing(("train", "test"))[0]
