"""The VOC layout: roots, lists, labels from XML and masks, and what is said when something is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dev_data import dev_data
from PIL import Image
from scipy.io import savemat
from wsseg_datasets.voc import CLASSES, Voc

from wsseg_cli.errors import DataError


def annotation(*objects: tuple[str, int]) -> str:
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox>"
    things = "".join(f"<object><name>{n}</name><difficult>{d}</difficult>{box}</object>" for n, d in objects)
    return f"<annotation><size><width>8</width><height>6</height></size>{things}</annotation>"


@pytest.fixture
def devkit(tmp_path: Path) -> Path:
    """Return VOCdevkit/VOC2012 with three annotated images, one unlabelled, masks for two."""
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Segmentation", "SALImages"):
        (root / folder).mkdir(parents=True)
    for name in ("2007_000001", "2007_000002", "2007_000003", "2008_000009"):
        Image.new("RGB", (8, 6)).save(root / "JPEGImages" / f"{name}.jpg")
    for name, objects in {
        "2007_000001": [("dog", 0), ("sofa", 1)],
        "2007_000002": [("person", 0), ("person", 1)],
        "2007_000003": [("cat", 1)],
    }.items():
        (root / "Annotations" / f"{name}.xml").write_text(annotation(*objects))
    for name in ("2007_000001", "2007_000002"):
        mask = np.zeros((6, 8), np.uint8)
        mask[:2], mask[-1] = 12, 255
        Image.fromarray(mask).save(root / "SegmentationClass" / f"{name}.png")
    lists = root / "ImageSets/Segmentation"
    (lists / "train.txt").write_text("2007_000001 1\n2007_000002\n\n2007_000003  -1 0\n")
    (lists / "val.txt").write_text("2007_000001\n2007_000002\n")
    (lists / "test.txt").write_text("2008_000009\n")
    return root


def voc(root: Path, **options: Any) -> Voc:
    return Voc(Voc.Options(root=root, **options), root / "work")


def test_samples_of_a_list(devkit: Path) -> None:
    samples = list(voc(devkit).samples("train"))
    assert [s.image_id for s in samples] == ["2007_000001", "2007_000002", "2007_000003"]
    assert [[CLASSES[i] for i in s.labels] for s in samples] == [["dog", "sofa"], ["person"], ["cat"]]
    assert [s.mask is not None for s in samples] == [True, True, False]
    assert all(s.image.is_file() and s.orientation == 1 and not s.extras for s in samples)


@pytest.mark.parametrize("up", [0, 1, 2])
def test_root_may_be_the_devkit_or_what_holds_it(devkit: Path, up: int) -> None:
    given = [devkit, *devkit.parents][up]
    assert voc(given).root() == devkit


def test_several_devkits_are_refused(devkit: Path) -> None:
    (devkit.parent / "VOC2007" / "JPEGImages").mkdir(parents=True)
    with pytest.raises(DataError, match="several devkits: VOC2007, VOC2012"):
        voc(devkit.parent).root()


def test_difficult_objects_can_be_dropped(devkit: Path) -> None:
    labels = [s.labels for s in voc(devkit, difficult="drop").samples("train")]
    assert [[CLASSES[i] for i in row] for row in labels] == [["dog"], ["person"], []]


def test_labels_from_masks(devkit: Path) -> None:
    assert [s.labels for s in voc(devkit, labels="masks").samples("val")] == [(11,), (11,)]
    with pytest.raises(DataError, match=r"2007_000003. has no mask"):
        list(voc(devkit, labels="masks").samples("train"))


def test_a_list_without_annotations_and_masks_is_unlabelled(devkit: Path) -> None:
    (sample,) = voc(devkit).samples("test")
    assert sample.labels == () and sample.mask is None
    for file in (devkit / "Annotations").iterdir():
        file.unlink()
    assert list(voc(devkit, labels="masks").samples("test")) == [sample]
    for file in (devkit / "SegmentationClass").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="has neither"):
        list(voc(devkit, labels="masks").samples("test"))


def test_an_own_list_wins(devkit: Path, tmp_path: Path) -> None:
    own = tmp_path / "aug.txt"
    own.write_text("/JPEGImages/2007_000002.jpg /SegmentationClassAug/2007_000002.png\n2007_000003\n")
    data = voc(devkit, lists={"train": own, "train_aug": own})
    assert [s.image_id for s in data.samples("train_aug")] == ["2007_000002", "2007_000003"]
    assert [s.image_id for s in data.samples("train")] == ["2007_000002", "2007_000003"]


def test_a_list_that_is_not_there_is_named(devkit: Path) -> None:
    with pytest.raises(DataError, match=r"no split 'train_aug'.*test, train, val.*no devkit ships train_aug"):
        list(voc(devkit).samples("train_aug"))
    with pytest.raises(DataError, match=r"nowhere\.txt: cannot be read"):
        list(voc(devkit, lists={"train": Path("nowhere.txt")}).samples("train"))


def test_train_aug_comes_from_sbd(devkit: Path, tmp_path: Path) -> None:
    sbd = tmp_path / "sbd"
    (sbd / "cls").mkdir(parents=True)
    (sbd / "train.txt").write_text("2007_000003\n")
    (sbd / "val.txt").write_text("2007_000002\n")
    mask = np.full((6, 8), 8, np.uint8)
    savemat(sbd / "cls" / "2007_000003.mat", {"GTcls": {"Segmentation": mask}})
    samples = list(voc(devkit, sbd=sbd).samples("train_aug"))
    assert [s.image_id for s in samples] == ["2007_000003"]
    assert samples[0].mask is not None and (np.asarray(Image.open(samples[0].mask)) == mask).all()
    both = {s.image_id: s for s in voc(devkit, sbd=sbd).samples("train")}
    assert both["2007_000003"] == samples[0]


def test_saliency_goes_along(devkit: Path) -> None:
    sample = next(voc(devkit, saliency=Path("SALImages")).samples("train"))
    assert sample.extras["saliency"] == devkit / "SALImages" / "2007_000001.png"
    with pytest.raises(DataError, match=r"no folder .*salience of saliency maps"):
        list(voc(devkit, saliency=Path("salience")).samples("train"))


def test_all_bad_annotations_are_named_at_once(devkit: Path) -> None:
    (devkit / "Annotations" / "2007_000001.xml").write_text("<annotation><object>")
    (devkit / "Annotations" / "2007_000002.xml").write_text(annotation(("pursen", 0)))
    (devkit / "Annotations" / "2007_000003.xml").unlink()
    with pytest.raises(DataError) as caught:
        list(voc(devkit).samples("train"))
    text = str(caught.value)
    assert "labels of 3 images" in text
    assert "did you mean 'person'" in text
    assert "2007_000003" in text and "2007_000001" in text


def test_folders_that_are_no_devkit_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no folder .*nowhere"):
        voc(tmp_path / "nowhere").root()
    with pytest.raises(DataError, match="holds no folder JPEGImages"):
        voc(tmp_path).root()


def test_real_photos() -> None:
    data = voc(dev_data("minivoc"), saliency=Path("SALImages"))
    train, val = list(data.samples("train")), list(data.samples("val"))
    assert (len(train), len(val)) == (223, 149)
    assert all(s.image.is_file() and s.mask and s.mask.is_file() and s.extras["saliency"].is_file() for s in train)
    from_masks = {s.image_id: s.labels for s in voc(dev_data("minivoc"), labels="masks").samples("val")}
    assert from_masks == {s.image_id: s.labels for s in val}
