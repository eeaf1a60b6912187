"""Masks to labelling tools and back, pixel by pixel, also through the tools' own libraries."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelling import FILES, IGNORED, MASKS, NAMES, accepted, export, wsseg

from wsseg_cli.data.images import read_mask
from wsseg_cli.foreign.brush_codes import unpack


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("instances", [False, True])
@pytest.mark.parametrize("ignore", [None, IGNORED])
def test_there_and_back(box: Path, file: str, instances: bool, ignore: str | None) -> None:
    tool = FILES[file]
    words = ["--instances"] * instances + (["--ignore", ignore] if ignore else [])
    names = NAMES if file != "out.zip" else ["cat", "dog", "猫 & <b>"]
    (box / "names.txt").write_text("\n".join(names), encoding="utf-8")
    done = export(box, tool, file, *words)
    if file == "out.zip" and instances:
        assert done.exit_code == 2 and "--instances" in done.stderr
        return
    assert done.exit_code == 0, done.output
    assert ("2 masks hold 255" in done.stdout) == (ignore is None)
    if tool == "label-studio":
        accepted(box, file)
    back = ["--classes", box / "names.txt"] if tool == "label-studio" else []
    back += ["--ignore", ignore] if ignore else []
    done = wsseg("convert", "masks", box / file, box / "back", "--from", tool, "--photos", box / "photos", *back)
    assert done.exit_code == 0, done.output
    assert {path.stem for path in (box / "back").glob("*.png")} == {name.replace("/", "%2F") for name in MASKS}
    for name, mask in MASKS.items():
        want = mask if ignore else np.where(mask == 255, 0, mask)
        np.testing.assert_array_equal(read_mask(box / "back" / f"{name.replace('/', '%2F')}.png"), want)


def painted(parts: list[tuple[int, np.ndarray]]) -> np.ndarray:
    mask = np.zeros((13, 18), np.uint8)
    for value, inside in parts:
        assert not mask[inside].any(), "regions overlap"
        mask[inside] = value
    return mask


VALUES = {**{name: value for value, name in enumerate(NAMES, 1)}, IGNORED: 255}


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("instances", [False, True])
def test_coco_reads_it(box: Path, instances: bool) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    export(box, "coco", "out.json", "--ignore", IGNORED, *["--instances"] * instances)
    read = coco.COCO(str(box / "out.json"))
    assert [read.cats[number]["name"] for number in (1, 2, 3, 4)] == [*NAMES, IGNORED]
    for image in read.imgs.values():
        mask = MASKS[image["file_name"].removesuffix(".jpg")]
        found = read.loadAnns(read.getAnnIds(image["id"]))
        parts = [(VALUES[read.cats[one["category_id"]]["name"]], read.annToMask(one) > 0) for one in found]
        np.testing.assert_array_equal(painted(parts), mask)
        for one, (_, inside) in zip(found, parts, strict=True):
            rows, columns = np.nonzero(inside)
            width, height = np.ptp(columns) + 1, np.ptp(rows) + 1
            assert one["area"] == len(rows) and one["bbox"] == [columns.min(), rows.min(), width, height]
    assert len(read.getAnnIds(catIds=[2], imgIds=[1])) == (4 if instances else 1)


def items_of(folder: Path, form: str) -> dict[str, tuple[list[str], Any]]:
    """Return {id: (labels, item)} as datumaro reads a folder."""
    datumaro = pytest.importorskip("datumaro")
    read = datumaro.Dataset.import_from(str(folder), form)
    labels = [label.name for label in read.categories()[datumaro.AnnotationType.label]]
    return {item.id: (labels, item) for item in read}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("form", ["coco_instances", "cvat", "voc_segmentation"])
def test_datumaro_reads_it(box: Path, form: str) -> None:
    pytest.importorskip("datumaro")
    file = {"coco_instances": "d/annotations/instances_default.json", "cvat": "d/a.xml", "voc_segmentation": "d.zip"}
    tool = "coco" if form == "coco_instances" else "cvat"
    names = NAMES if tool == "coco" or form == "cvat" else ["cat", "dog", "猫 & <b>"]
    (box / "names.txt").write_text("\n".join(names), encoding="utf-8")
    assert export(box, tool, file[form], "--ignore", IGNORED).exit_code == 0
    shutil.copytree(box / "photos", box / "d" / "images")
    if form == "voc_segmentation":
        zipfile.ZipFile(box / "d.zip").extractall(box / "d")
    values = {**{name: value for value, name in enumerate(names, 1)}, IGNORED: 255, "background": 0}
    items = items_of(box / "d", form)
    assert set(items) == set(MASKS)
    for name, (labels, item) in items.items():
        parts = [(values[labels[one.label]], one.image > 0) for one in item.annotations if hasattr(one, "image")]
        np.testing.assert_array_equal(painted([part for part in parts if part[0]]), MASKS[name])


@pytest.mark.filterwarnings("ignore")
def test_label_studio_reads_it(box: Path) -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    export(box, "label-studio", "tasks.json", "--ignore", IGNORED, "--instances")
    for task in json.loads((box / "tasks.json").read_text(encoding="utf-8")):
        results = [{**one, **one["value"]} for one in task["predictions"][0]["result"]]
        layers = brush.decode_from_annotation("label", results)
        parts = [(VALUES[name.split("-")[1]], layer > 127) for name, layer in layers.items()]
        np.testing.assert_array_equal(painted(parts), MASKS[task["data"]["image_id"]])


@pytest.mark.filterwarnings("ignore")
def test_what_label_studio_packs_is_read() -> None:
    brush = pytest.importorskip("label_studio_sdk.converter.brush")
    noise = np.random.default_rng(0).integers(0, 2, (31, 40)).astype(np.uint8) * 255
    for mask in (noise, np.zeros((300, 300), np.uint8), np.full((300, 300), 255, np.uint8)):
        np.testing.assert_array_equal(unpack(brush.mask2rle(mask), mask.shape), mask > 0)
