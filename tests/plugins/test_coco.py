from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from dev_data import dev_data
from PIL import Image
from wsseg_datasets.coco import COCO

from wsseg_cli.data.images import read_mask
from wsseg_cli.errors import DataError

SQUARE = [[0, 0, 8, 0, 8, 8, 0, 8]]
CROWD = {"size": [10, 12], "counts": [60, 60]}


def content() -> dict[str, Any]:
    return {
        "categories": [{"id": 7, "name": "train"}, {"id": 2, "name": "bicycle"}],
        "images": [
            {"id": 9, "file_name": "COCO_train2014_9.jpg", "height": 10, "width": 12},
            {"id": 3, "file_name": "COCO_train2014_3.jpg", "height": 10, "width": 12},
            {"id": 4, "file_name": "COCO_train2014_4.jpg", "height": 10, "width": 12},
        ],
        "annotations": [
            {"id": 1, "image_id": 9, "category_id": 7, "segmentation": SQUARE, "iscrowd": 0},
            {"id": 2, "image_id": 9, "category_id": 2, "segmentation": CROWD, "iscrowd": 1},
            {"id": 3, "image_id": 3, "category_id": 2, "segmentation": SQUARE, "iscrowd": 0},
        ],
    }


def tree(root: Path, data: Any) -> Path:
    (root / "annotations").mkdir(parents=True)
    (root / "train2014").mkdir()
    (root / "annotations" / "instances_train2014.json").write_text(data if isinstance(data, str) else json.dumps(data))
    for number in (3, 4, 9):
        Image.new("RGB", (12, 10)).save(root / "train2014" / f"COCO_train2014_{number}.jpg")
    return root


def test_labels_masks_and_rules(tmp_path: Path) -> None:
    root = tree(tmp_path / "coco", content())
    data = COCO(COCO.Options(root=root), tmp_path / "work")
    assert list(data.classes()) == ["bicycle", "train"]
    first, second = data.samples("train")
    assert (first.image_id, first.labels) == ("COCO_train2014_9", (0, 1))
    assert (second.image_id, second.labels) == ("COCO_train2014_3", (0,))
    assert data.facts() == {
        "masks": "rendered, overlap: last, crowd: paint",
        "without an object, left out of train": 1,
    }
    mask = read_mask(first.mask)
    assert first.image.is_file() and mask[4, 4] == 2 and mask[4, 7] == 1 and mask[9, 1] == 0

    # finished files stay, other rules draw anew
    before = first.mask.stat().st_mtime_ns
    assert len(list(data.samples("train"))) == 2 and first.mask.stat().st_mtime_ns == before
    other = COCO(COCO.Options(root=root, crowd="ignore", unlabelled="keep"), tmp_path / "work")
    samples = list(other.samples("train"))
    assert [s.labels for s in samples] == [(1,), (0,), ()]
    mask = read_mask(samples[0].mask)
    assert mask[4, 4] == 2 and mask[4, 7] == 255
    assert not read_mask(samples[2].mask).any()


def test_ready_masks_and_saliency(tmp_path: Path) -> None:
    root = tree(tmp_path / "coco", content())
    masks = tmp_path / "SegmentationClass"
    (masks / "train2014").mkdir(parents=True)
    options = COCO.Options(root=root, masks=masks, saliency=tmp_path / "saliency")
    sample = next(iter(COCO(options, tmp_path / "work").samples("train")))
    assert sample.mask == masks / "train2014" / "COCO_train2014_9.png"
    assert sample.extras["saliency"] == tmp_path / "saliency" / "COCO_train2014_9.png"
    assert not (tmp_path / "work").exists()
    bare = next(iter(COCO(COCO.Options(root=root, render=False), tmp_path / "work").samples("train")))
    assert bare.mask is None


def changed(part: str, index: int, **values: Any) -> dict[str, Any]:
    data = content()
    data[part][index].update(values)
    return data


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ("", "no JSON"),
        ("[" * 100_000, "no JSON"),
        ("[]", "instances format"),
        ({"categories": [], "images": [], "annotations": []}, "0 categories"),
        (changed("images", 0, file_name="../../etc/passwd"), "etc/passwd"),
        (changed("images", 0, file_name="/etc/passwd"), "etc/passwd"),
        (changed("images", 0, height="10"), "image 9"),
        (changed("images", 0, id=3), "3 stands twice"),
        (changed("annotations", 0, category_id=99), "annotation 1"),
        (changed("annotations", 0, image_id=99), "annotation 1"),
        (changed("annotations", 0, segmentation=[[1, 2]]), "COCO_train2014_9"),
        (changed("annotations", 1, segmentation={"size": [9, 9], "counts": [81]}), "COCO_train2014_9"),
        (changed("images", 0, height=1_000_000, width=1_000_000), "COCO_train2014_9"),
        (changed("categories", 0, id=2), "category 2"),
        (changed("categories", 0, name="bicycle"), "bicycle"),
    ],
)
def test_broken_files(tmp_path: Path, data: Any, message: str) -> None:
    plugin = COCO(COCO.Options(root=tree(tmp_path / "coco", data)), tmp_path / "work")
    with pytest.raises(DataError, match=message):
        plugin.classes()
        list(plugin.samples("train"))


def test_missing_splits(tmp_path: Path) -> None:
    plugin = COCO(COCO.Options(root=tmp_path), tmp_path)
    with pytest.raises(DataError, match=r"instances_train2014\.json"):
        plugin.classes()
    with pytest.raises(DataError, match=r"instances_val2014\.json"):
        list(plugin.samples("val"))


def test_both_splits_of_a_real_subset(tmp_path: Path) -> None:
    root = dev_data("coco_tiny")
    plugin = COCO(COCO.Options(root=root, year=2017), tmp_path)
    assert len(plugin.classes()) == 80 and plugin.classes()[0] == "person" and plugin.classes()[79] == "toothbrush"
    counts = {}
    for split in ("train", "val"):
        samples = list(plugin.samples(split))
        counts[split] = len(samples)
        for sample in samples:
            mask = read_mask(sample.mask)
            with Image.open(sample.image) as photo:
                assert mask.shape[::-1] == photo.size
            assert set(plugin.classes().labels_in(mask)) <= set(sample.labels)
    assert counts == {"train": 30, "val": 6}  # two photos show nothing that COCO names
