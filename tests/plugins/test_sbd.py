from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dev_data import dev_data
from PIL import Image
from scipy.io import savemat
from wsseg_datasets.lists import id_of_line, read_list
from wsseg_datasets.sbd import merged_ids, sbd_folder, sbd_ids, sbd_masks

from wsseg_cli.errors import DataError


def release(root: Path) -> Path:
    folder = root / "benchmark_RELEASE" / "dataset"
    (folder / "cls").mkdir(parents=True)
    (folder / "train.txt").write_text("2008_000002\n2008_000003\n")
    (folder / "val.txt").write_text("2008_000004\n")
    for number in (2, 3, 4):
        mask = np.full((5, 6), number, np.uint8)
        savemat(folder / "cls" / f"2008_{number:06d}.mat", {"GTcls": {"Segmentation": mask}})
    return folder


def test_ids_and_masks(tmp_path: Path) -> None:
    folder = release(tmp_path)
    assert sbd_folder(tmp_path) == sbd_folder(folder) == sbd_folder(tmp_path / "benchmark_RELEASE") == folder
    ids = merged_ids(sbd_ids(folder), ["2007_000032", "2008_000003"], ["2008_000004"])
    assert ids == ["2007_000032", "2008_000002", "2008_000003"]
    masks = sbd_masks(folder, ids, tmp_path / "out")
    assert list(masks) == ["2008_000002", "2008_000003"]
    with Image.open(masks["2008_000003"]) as picture:
        assert picture.mode == "P" and np.asarray(picture).tolist() == [[3] * 6] * 5
    before = masks["2008_000002"].stat().st_mtime_ns
    assert sbd_masks(folder, ids, tmp_path / "out")["2008_000002"].stat().st_mtime_ns == before


def test_broken_masks_are_named(tmp_path: Path) -> None:
    folder = release(tmp_path)
    (folder / "cls" / "2008_000002.mat").write_bytes(b"no mat")
    with pytest.raises(DataError, match=r"1 broken masks[\s\S]*2008_000002\.mat"):
        sbd_masks(folder, ["2008_000002", "2008_000003"], tmp_path / "out")
    with pytest.raises(DataError, match=r"train\.txt"):
        sbd_folder(tmp_path / "nowhere")


def test_train_aug_of_the_real_lists() -> None:
    """However SBD divides its images: what is not of VOC's val makes the 10 582, 330 of them from VOC alone."""
    lists = dev_data("voc12_masks", "ImageSets", "Segmentation")
    train, val, train_aug = (read_list(lists / f"{name}.txt") for name in ("train", "val", "train_aug"))
    sbd = [i for i in train_aug if i not in set(train[:330])] + val[:1103]
    assert len(sbd) == 11355 and len(train_aug) == 10582
    assert merged_ids(sbd, train, val) == train_aug


def test_lines_of_lists(tmp_path: Path) -> None:
    assert id_of_line("2007_000032") == "2007_000032"
    assert id_of_line("COCO_train2014_000000000009 ") == "COCO_train2014_000000000009"
    (tmp_path / "twice.txt").write_text("a\nb\na\n")
    with pytest.raises(DataError, match="'a'"):
        read_list(tmp_path / "twice.txt")
