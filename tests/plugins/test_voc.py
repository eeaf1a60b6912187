"""The VOC layout: roots, lists, labels from XML and masks, and what is said when something is missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dev_data import dev_data
from PIL import Image
from scipy.io import savemat
from voc_annotation import annotation
from wsseg_datasets.voc import CLASSES, Voc

from wsseg_cli.errors import DataError


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


@pytest.mark.parametrize("suffix", [".png", ".JPG", ".jpeg", ".JPEG", ".bmp", ".webp"])
def test_photos_of_other_suffixes(devkit: Path, suffix: str) -> None:
    for path in (devkit / "JPEGImages").iterdir():
        path.rename(path.with_suffix(suffix))
    assert all(s.image.is_file() and s.image.suffix == suffix for s in voc(devkit).samples("train"))


NAMES = ("IMG 2024 (1)", "day 1/my dog", "day 1/my", "a.b")


@pytest.mark.parametrize(
    "line",
    [
        "{}",
        "{}.jpg",
        "{} 1",
        "{}  -1",
        "JPEGImages/{}.jpg",
        "/JPEGImages/{}.jpg",
        "/data/VOC2012/JPEGImages/{}.jpg",
        "./{}.jpg",
    ],
)
def test_names_with_spaces_and_folders(devkit: Path, line: str) -> None:
    for name in NAMES:
        for folder, suffix in (("JPEGImages", ".jpg"), ("Annotations", ".xml")):
            path = devkit / folder / f"{name}{suffix}"
            path.parent.mkdir(exist_ok=True)
            if suffix == ".jpg":
                Image.new("RGB", (8, 6)).save(path)
            else:
                path.write_text(annotation(("dog" if "dog" in name else "cat", 0)))
    (devkit / "own.txt").write_text("".join(line.format(name) + "\n" for name in NAMES))
    if " " in line:  # only where a photo is called so can the number behind it be told from the name
        (devkit / "own.txt").write_text("".join(line.format(name) + "\n" for name in ("a.b", "2007_000001")))
    samples = {s.image_id: s for s in voc(devkit, lists={"own": Path("own.txt")}).samples("own")}
    assert set(samples) == ({"a.b", "2007_000001"} if " " in line else set(NAMES))
    assert all(s.image.is_file() for s in samples.values())
    assert " " in line or samples["day 1/my dog"].labels == (CLASSES.index("dog"),)


def test_lines_with_backslashes_and_masks(devkit: Path) -> None:
    (devkit / "own.txt").write_text("JPEGImages\\2007_000001.jpg SegmentationClass\\2007_000001.png\n")
    (sample,) = voc(devkit, lists={"own": Path("own.txt")}).samples("own")
    assert sample.image_id == "2007_000001"


def test_names_that_lead_out_are_left_out(devkit: Path) -> None:
    (devkit / "own.txt").write_text("2007_000001\n../../etc/passwd\n")
    data = voc(devkit, lists={"own": Path("own.txt")})
    data.bad = {}
    assert [s.image_id for s in data.samples("own")] == ["2007_000001"] and len(data.bad) == 1


def test_exif_orientation(devkit: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in ("2007_000001", "2007_000002"):
        Image.new("RGB", (8, 6)).save(devkit / "JPEGImages" / f"{name}.jpg", exif=exif)
    data = voc(devkit)
    assert [s.orientation for s in data.samples("val")] == [1, 1]
    assert "2 photos have one: 0 turned, 2 as stored" in data.facts()["EXIF orientation in val"]
    assert [s.orientation for s in voc(devkit, orientation="apply").samples("val")] == [6, 6]
    for name in ("2007_000001", "2007_000002"):
        Image.new("L", (6, 8), 12).save(devkit / "SegmentationClass" / f"{name}.png")
    assert [s.orientation for s in voc(devkit).samples("val")] == [6, 6]
    for name in ("2007_000001", "2007_000002"):
        (devkit / "SegmentationClass" / f"{name}.png").unlink()
    data = voc(devkit)
    assert [s.orientation for s in data.samples("val")] == [1, 1]
    assert "nothing tells" in data.facts()["EXIF orientation in val"]


def test_classes_are_renamed(devkit: Path) -> None:
    samples = voc(devkit, rename={"sofa": "dog", "cat": None}).samples("train")
    assert [[CLASSES[i] for i in s.labels] for s in samples] == [["dog"], ["person"], []]


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


def test_of_several_folders_the_first_mask_counts(devkit: Path) -> None:
    own, more = devkit / "SegmentationClass", devkit / "SegmentationClassAug"
    more.mkdir()
    for name in ("2007_000001", "2007_000003"):
        (more / f"{name}.png").write_bytes((own / "2007_000002.png").read_bytes())
    both = voc(devkit, masks=(Path("SegmentationClass"), Path("SegmentationClassAug")))
    folders = {s.image_id: s.mask.parent.name for s in both.samples("train") if s.mask}
    assert folders == {
        "2007_000001": "SegmentationClass",
        "2007_000002": "SegmentationClass",
        "2007_000003": "SegmentationClassAug",
    }
    gone = voc(devkit, masks=(Path("a"), Path("b")))
    assert gone.missing(["train"]) == [f"no folder {devkit}/a or b; set the data set's option `masks`"]
    assert voc(devkit, masks=(Path("a"), Path("SegmentationClass"))).missing(["train"]) == []


def test_how_data_compares_with_the_published(devkit: Path) -> None:
    (devkit / "ImageSets/Segmentation/train_aug.txt").write_text("2007_000001\n2007_000002\n2007_000003\n")
    vectors = {name: np.zeros(20, np.float32) for name in ("2007_000001", "2007_000002", "2010_000001")}
    vectors["2007_000001"][[CLASSES.index("dog"), CLASSES.index("sofa")]] = 1
    vectors["2007_000002"][CLASSES.index("dog")] = 1
    np.save(devkit / "cls_labels.npy", vectors)
    data = voc(devkit, cls_labels=Path("cls_labels.npy"))
    assert data.missing(["train_aug"]) == []
    list(data.samples("train_aug"))
    facts = data.facts()
    assert facts["images of train_aug"] == "3 found, 10582 expected"
    assert facts["labels equal cls_labels.npy"] == "on 1 of 2 ids; 1 more ids are not in it"
    (devkit / "JPEGImages/2007_000003.jpg").unlink()
    again = voc(devkit)
    again.bad = {}
    list(again.samples("train_aug"))
    assert again.facts()["images of train_aug"] == "2 found, 10582 expected"
    assert "cls_labels" in voc(devkit, cls_labels=Path("gone.npy")).missing(["train"])[0]
    other = voc(devkit, classes=("dog", "person", "sofa", "cat"), cls_labels=Path("cls_labels.npy"))
    other.bad = {}
    list(other.samples("train_aug"))
    with pytest.raises(DataError, match="vectors of 20 classes, but the data set has 4"):
        other.facts()


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
    data = voc(devkit)
    data.bad = {}
    assert list(data.samples("train")) == []
    assert set(data.bad) == {"2007_000001", "2007_000002", "2007_000003"}
    assert "did you mean 'person'" in data.bad["2007_000002"]
    with pytest.raises(DataError, match="2007_000001"):
        list(voc(devkit).samples("train"))


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
