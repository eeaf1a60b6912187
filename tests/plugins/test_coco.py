from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dev_data import dev_data
from PIL import Image
from wsseg_datasets.coco import COCO

from wsseg_cli.data.images import look_at_photo, read_mask
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
    first, second, third = data.samples("train")
    assert (third.image_id, third.labels) == ("COCO_train2014_4", ()) and not read_mask(third.mask).any()
    assert (first.image_id, first.labels) == ("COCO_train2014_9", (0, 1))
    assert (second.image_id, second.labels) == ("COCO_train2014_3", (0,))
    assert data.facts() == {"masks": "rendered, overlap: last, crowd: paint"}
    mask = read_mask(first.mask)
    assert first.image.is_file() and mask[4, 4] == 2 and mask[4, 7] == 1 and mask[9, 1] == 0

    # finished files stay, other rules draw anew
    before = first.mask.stat().st_mtime_ns
    assert len(list(data.samples("train"))) == 3 and first.mask.stat().st_mtime_ns == before
    other = COCO(COCO.Options(root=root, crowd="ignore", unlabelled="drop"), tmp_path / "work")
    samples = list(other.samples("train"))
    assert [s.labels for s in samples] == [(1,), (0,)]
    assert other.facts()["without an object, left out of train"] == 1
    mask = read_mask(samples[0].mask)
    assert mask[4, 4] == 2 and mask[4, 7] == 255


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
        ("", "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "instances format"),
        ({"categories": [], "images": [], "annotations": []}, "0 categories"),
        (changed("images", 0, file_name="../../etc/passwd"), "etc/passwd"),
        (changed("images", 0, file_name="/etc/passwd"), "etc/passwd"),
        (changed("images", 0, height="ten"), "image 9"),
        (changed("images", 0, id=3), "3 occurs twice"),
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


@pytest.mark.parametrize("note", [b"\xff\xfe", b"", None])
def test_masks_whose_note_is_damaged_are_rendered_anew(tmp_path: Path, note: bytes | None) -> None:
    root = tree(tmp_path / "data", content())

    def masks() -> dict[str, bytes]:
        plugin = COCO(COCO.Options(root=root, workers=1), tmp_path / "work")
        return {sample.image_id: sample.mask.read_bytes() for sample in plugin.samples("train") if sample.mask}

    whole = masks()
    [rules] = (tmp_path / "work").rglob("rules.json")
    rules.unlink()
    rules.mkdir() if note is None else rules.write_bytes(note)
    assert masks() == whole and rules.read_text().startswith("{")


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
    assert counts == {"train": 32, "val": 6}
    published = COCO(COCO.Options(root=root, year=2017, unlabelled="drop"), tmp_path)
    assert len(list(published.samples("train"))) == 30  # two photos show nothing that COCO names


def coco(root: Path, data: Any, **options: Any) -> COCO:
    return COCO(COCO.Options(root=tree(root / "coco", data), **options), root / "work")


LABELS = {"COCO_train2014_9": (0, 1), "COCO_train2014_3": (0,), "COCO_train2014_4": ()}


@pytest.mark.parametrize("kind", ["text", "float", "text of a float", "words"])
def test_numbers_as_other_programs_write_them(tmp_path: Path, kind: str) -> None:
    write = {"text": str, "float": float, "text of a float": lambda n: f"{n}.0", "words": lambda n: f"photo-{n}"}[kind]
    data = content()
    for image in data["images"]:
        image["id"] = write(image["id"])
        if kind != "words":
            image |= {"height": write(image["height"]), "width": write(image["width"])}
    for annotation in data["annotations"]:
        annotation["image_id"] = write(annotation["image_id"])
        if kind != "words":
            annotation |= {"category_id": write(annotation["category_id"]), "iscrowd": write(annotation["iscrowd"])}
    samples = list(coco(tmp_path, data, crowd="skip").samples("train"))
    assert {s.image_id: s.labels for s in samples} == LABELS | {"COCO_train2014_9": (1,)}
    assert read_mask(samples[0].mask).shape == (10, 12)


@pytest.mark.parametrize("value", [1.5, "1.5", "", None, [], True, float("nan"), 1e300, "9" * 30])
def test_what_is_no_whole_number(tmp_path: Path, value: Any) -> None:
    data = coco(tmp_path, json.dumps(changed("annotations", 2, category_id=value)))
    with pytest.raises(DataError, match="annotation 3"):
        list(data.samples("train"))


@pytest.mark.parametrize("missing", [[], None, "no key"])
@pytest.mark.parametrize("render", [True, False])
def test_objects_without_segmentation_are_labels(tmp_path: Path, missing: Any, render: bool) -> None:
    data = content()
    for annotation in (data["annotations"][1], data["annotations"][2]):
        annotation["segmentation"] = missing
        annotation["bbox"] = [6, 2, 4.5, 3]
        if missing == "no key":
            del annotation["segmentation"]
    plugin = coco(tmp_path, data, render=render)
    samples = {s.image_id: s for s in plugin.samples("train")}
    assert {image_id: s.labels for image_id, s in samples.items()} == LABELS
    assert samples["COCO_train2014_3"].mask is None
    if not render:
        assert samples["COCO_train2014_9"].mask is None
        return
    # the box of an object of unknown outline is neither learnt from nor evaluated where nothing else is
    mask = read_mask(samples["COCO_train2014_9"].mask)
    assert (mask[2:5, 8:11] == 255).all() and (mask[2:5, 6:8] == 2).all() and (mask == 255).sum() == 9
    assert plugin.facts()["without a mask in train"].startswith("1, since")


BROKEN = [[[20, 20, 40, 30]], "text", [[1, 2, "x", 4, 5, 6]], {"size": [9, 9], "counts": [81]}, [SQUARE[0], [1, 2]]]


@pytest.mark.parametrize("shape", BROKEN, ids=str)
def test_one_broken_object_is_named_and_the_rest_goes_on(tmp_path: Path, shape: Any) -> None:
    data = changed("annotations", 2, segmentation=shape)
    plugin = coco(tmp_path, data)
    with pytest.raises(DataError, match=r"image COCO_train2014_3, annotation 3: .*render: false"):
        list(plugin.samples("train"))
    plugin = COCO(plugin.options, tmp_path / "again")
    plugin.bad = {}
    samples = {s.image_id: s for s in plugin.samples("train")}
    assert {image_id: s.labels for image_id, s in samples.items()} == LABELS and len(plugin.bad) == 1
    assert [s.mask is None for s in samples.values()] == [False, True, False]
    bare = COCO(COCO.Options(root=plugin.options.root, render=False), tmp_path / "bare")
    assert {s.image_id: s.labels for s in bare.samples("train")} == LABELS


def test_bad_entries_are_collected(tmp_path: Path) -> None:
    data = content()
    data["annotations"] += [{"id": 8, "image_id": 404, "category_id": 2}, {"id": 9, "image_id": 3, "category_id": 404}]
    data["images"] += [{"id": 5, "height": 1, "width": 1}, {"id": 6, "file_name": "../a.jpg", "height": 1, "width": 1}]
    plugin = coco(tmp_path, data)
    plugin.bad = {}
    assert {s.image_id: s.labels for s in plugin.samples("train")} == LABELS
    assert len(plugin.bad) == 4


def test_categories_are_renamed_and_left_out(tmp_path: Path) -> None:
    data = content()
    data["categories"] += [{"id": 0, "name": "background"}, {"id": 1, "name": "Bicycle"}]
    data["annotations"].append({"id": 4, "image_id": 4, "category_id": 1, "segmentation": SQUARE})
    data["annotations"].append({"id": 5, "image_id": 3, "category_id": 0, "segmentation": SQUARE})
    plugin = coco(tmp_path, data)
    with pytest.raises(DataError, match=r"'background' cannot be a class.*rename: \{background: null\}"):
        plugin.classes()
    plugin = COCO(plugin.options.model_copy(update={"rename": {"background": None, "Bicycle": "bicycle"}}), tmp_path)
    assert list(plugin.classes()) == ["bicycle", "train"]
    samples = list(plugin.samples("train"))
    assert {s.image_id: s.labels for s in samples} == LABELS | {"COCO_train2014_4": (0,)}
    assert read_mask(samples[1].mask)[4, 4] == 1


def test_two_files_of_one_name(tmp_path: Path) -> None:
    data = content()
    data["images"].append({"id": 10, "file_name": "COCO_train2014_9.png", "height": 10, "width": 12})
    ids = [s.image_id for s in coco(tmp_path, data).samples("train")]
    assert ids == ["COCO_train2014_9.jpg", "COCO_train2014_3", "COCO_train2014_4", "COCO_train2014_9.png"]


TALL = [[1, 2, 5, 2, 5, 11, 1, 11]]
"""A polygon that fits only the turned photo, 10 wide and 12 high."""


@pytest.mark.parametrize(
    ("orientation", "shape", "given", "option", "applied"),
    [
        (6, TALL, (10, 12), "auto", 6),
        (8, TALL, (12, 10), "auto", 8),
        (6, [[0, 0, 11.5, 0, 11.5, 8, 0, 8]], (10, 12), "auto", 1),
        (6, SQUARE, (10, 12), "auto", 1),
        (6, SQUARE, (10, 12), "apply", 6),
        (6, SQUARE, (12, 10), "auto", 6),
        (3, SQUARE, (10, 12), "auto", 1),
        (3, SQUARE, (10, 12), "apply", 3),
        (6, TALL, (10, 12), "ignore", 1),
    ],
)
def test_exif_orientation(
    tmp_path: Path, orientation: int, shape: Any, given: tuple[int, int], option: str, applied: int
) -> None:
    data = content()
    data["images"] = [{"id": 3, "file_name": "COCO_train2014_3.jpg", "height": given[0], "width": given[1]}]
    data["annotations"] = [{"id": 3, "image_id": 3, "category_id": 2, "segmentation": shape}]
    plugin = coco(tmp_path, data, orientation=option)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (12, 10)).save(tmp_path / "coco" / "train2014" / "COCO_train2014_3.jpg", exif=exif)
    (sample,) = plugin.samples("train")
    assert sample.orientation == applied
    assert f"1 photos have one: {int(applied != 1)} turned" in plugin.facts()["EXIF orientation in train"]
    mask = read_mask(sample.mask)
    assert mask.shape == look_at_photo(sample.image, applied)[0]
    if applied in (6, 8) and shape is TALL:
        expected = np.zeros((12, 10), np.uint8)
        expected[2:11, 1:5] = 1
        assert (mask == expected).all()
