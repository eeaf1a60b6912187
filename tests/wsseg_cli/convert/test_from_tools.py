"""What people have drawn in labelling tools, and files that are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from labelling import wsseg

from wsseg_cli.data.images import read_mask
from wsseg_cli.foreign.brush_codes import pack


def task(name: str, *regions: tuple[str, Any]) -> dict[str, Any]:
    result = []
    for label, value in regions:
        holder, kind = ("points", "polygonlabels") if isinstance(value, tuple) else ("rle", "brushlabels")
        inner = {holder: value, kind: [label]}
        result.append({"type": kind, "original_width": 18, "original_height": 13, "value": inner})
    return {"data": {"image": name}, "annotations": [{"result": result}]}


WHOLE = pack([0, 18 * 13], 18 * 13)


def studio(box: Path, *tasks: dict[str, Any]) -> Any:
    (box / "in.json").write_text(json.dumps(list(tasks)))
    words = ("--from", "label-studio", "--classes", box / "names.txt", "--photos", box / "photos")
    return wsseg("convert", "masks", box / "in.json", box / "back", *words)


def test_photos_as_label_studio_names_them(box: Path) -> None:
    uploaded = task("http://localhost:8080/data/upload/7/0a1b2c3d-a.jpg", ("cat", WHOLE))
    local = task("/data/local-files/?d=photos/sub/%C3%BC%20b.jpg", ("cat", ((0, 0), (50, 0), (50, 100), (0, 100))))
    cancelled = task("full.jpg", ("cat", WHOLE))
    cancelled["annotations"][0]["was_cancelled"] = True
    nothing = task("empty.jpg")
    done = studio(box, uploaded, local, cancelled, nothing)
    assert done.exit_code == 0, done.output
    assert "1 tasks without an annotation" in done.stderr and "1 photos without a region" in done.stderr
    assert {path.stem for path in (box / "back").iterdir()} == {"a", "sub%2Fü b", "empty"}
    assert (read_mask(box / "back" / "a.png") == 1).all() and not read_mask(box / "back" / "empty.png").any()
    assert (read_mask(box / "back" / "sub%2Fü b.png") == (np.arange(18) < 9)).all()


REFUSED: dict[str, tuple[Callable[[Path], Any], int, str]] = {
    "labels of another project": (lambda b: studio(b, task("a.jpg", ("car", WHOLE))), 4, "'car', first in 'a.jpg'"),
    "a label in the second": (lambda b: studio(b, task("a.jpg"), task("full.jpg", ("tree", WHOLE))), 4, "'tree'"),
    "predictions alone": (lambda b: studio(b, {"data": {"image": "a.jpg"}, "predictions": []}), 4, "are not read"),
    "no tasks": (lambda b: studio(b, {"annotations": []}), 4, "`0.data`: field required"),
    "no photo": (lambda b: studio(b, task("none", ("cat", WHOLE))), 4, "`data` names no photo"),
    "of a photo that is not there": (lambda b: studio(b, task("x.jpg", ("cat", WHOLE))), 4, "x: no photo of this name"),
    "twice": (lambda b: studio(b, task("a.jpg"), task("a.jpg")), 4, "occur twice, such as 'a.jpg'"),
    "cut": (lambda b: studio(b, task("a.jpg", ("cat", WHOLE[:9]))), 4, "run lengths that end before the image"),
    "of another size": (lambda b: studio(b, task("a.jpg", ("cat", pack([0, 9], 9)))), 4, "of 9 pixels of 8 bits"),
    "a number": (lambda b: studio(b, task("a.jpg", ("cat", 10**30))), 4, "something else than bytes"),
    "no bytes": (lambda b: studio(b, task("a.jpg", ("cat", [*WHOLE, 256]))), 4, "something else than bytes"),
    "no corners": (lambda b: studio(b, task("a.jpg", ("cat", ((1, 2), (3,))))), 4, "pairs of numbers"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_refused_of_label_studio(box: Path, what: str) -> None:
    call, code, message = REFUSED[what]
    done = call(box)
    assert done.exit_code == code and message in done.stderr, done.output
    assert not (box / "back").exists() and "Traceback" not in done.output


def test_a_fault_of_one_photo_leaves_the_others(box: Path) -> None:
    done = studio(box, task("a.jpg", ("cat", WHOLE[:9])), task("full.jpg", ("cat", WHOLE)))
    assert done.exit_code == 4 and "1 of 2 files were not converted" in done.stderr and "region 1, 'cat'" in done.stderr
    assert [path.name for path in (box / "back").iterdir()] == ["full.png"]


def coco(box: Path, **change: Any) -> Any:
    shape = {"size": [13, 18], "counts": [0, 13 * 18]}
    content = {
        "images": [{"id": 1, "file_name": "a.jpg", "height": 13, "width": 18}],
        "annotations": [{"image_id": 1, "category_id": 3, "segmentation": shape}],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    (box / "in.json").write_text(json.dumps(content | change))
    return wsseg("convert", "masks", box / "in.json", box / "back", "--from", "coco", "--photos", box / "photos")


def test_categories_are_values_by_ascending_id(box: Path) -> None:
    done = coco(box)
    assert done.exit_code == 0 and "classes: cat, dog" in done.stderr
    assert (read_mask(box / "back" / "a.png") == 1).all()


WRONG_COCO: dict[str, tuple[dict[str, Any], str]] = {
    "no categories": ({"categories": None}, "`categories`"),
    "two of a name": ({"categories": [{"id": 3, "name": "cat"}, {"id": 4, "name": "cat"}]}, "same name"),
    "unknown image": ({"annotations": [{"image_id": 5, "category_id": 3}]}, "`annotations.0` is of image 5"),
    "no segmentation": ({"annotations": [{"image_id": 1, "category_id": 3}]}, "expected polygons or run lengths"),
    "another size": (
        {"images": [{"id": 1, "file_name": "a.jpg", "height": 18, "width": 13}], "annotations": []},
        "the mask is 13x18 pixels, its image 18x13",
    ),
    "huge": ({"images": [{"id": 1, "file_name": "a.jpg", "height": 1 << 20, "width": 1 << 20}]}, "megapixels"),
    "up and away": ({"images": [{"id": 1, "file_name": "../../a.jpg", "height": 13, "width": 18}]}, "no photo of this"),
}


@pytest.mark.parametrize("what", WRONG_COCO)
def test_what_is_refused_of_coco(box: Path, what: str) -> None:
    change, message = WRONG_COCO[what]
    done = coco(box, **change)
    assert done.exit_code == 4 and message in done.stderr, done.output
    assert not (box / "back").exists() and "Traceback" not in done.output


def cvat(box: Path, shapes: str, head: str = "") -> Any:
    image = f'<image id="0" name="a.jpg" width="18" height="13">{shapes}</image>'
    text = f"{head}<annotations><meta><job><labels><label><name>cat</name></label></labels></job></meta>{image}"
    (box / "in.xml").write_text(f"{text}</annotations>", encoding="utf-8")
    return wsseg("convert", "masks", box / "in.xml", box / "back", "--from", "cvat")


def test_shapes_of_cvat_by_height(box: Path) -> None:
    over = '<box label="background" xtl="0" ytl="0" xbr="9" ybr="13" z_order="2"/>'
    under = '<polygon label="cat" points="0,0;18,0;18,13;0,13" z_order="1"/><tag label="cat"/>'
    assert cvat(box, over + under).exit_code == 0
    assert (read_mask(box / "back" / "a.png") == (np.arange(18) >= 9)).all()


BOX = 'left="0" top="0" width="2" height="2"'
WRONG_CVAT = {
    "too many": (f'<mask label="cat" rle="1, 9" {BOX}/>', "no whole numbers from 0 to 4"),
    "not all": (f'<mask label="cat" rle="1" {BOX}/>', "of 1 pixels; there are 2x2"),
    "no numbers": (f'<mask label="cat" rle="1, x" {BOX}/>', "something else than whole numbers"),
    "outside": ('<mask label="cat" rle="4" left="17" top="0" width="2" height="2"/>', "a box of 2x2 at 17, 0"),
    "no box": ('<mask label="cat" rle="4"/>', "whose box is not given in whole numbers"),
    "a point": ('<points label="cat" points="1,2"/>', "a 'points'; read are mask, polygon, box"),
    "other labels": (f'<mask label="car" rle="0, 4" {BOX}/>', "'car'"),
}


@pytest.mark.parametrize("what", WRONG_CVAT)
def test_what_is_refused_of_cvat(box: Path, what: str) -> None:
    shapes, message = WRONG_CVAT[what]
    done = cvat(box, shapes)
    assert done.exit_code == 4 and message in done.stderr, done.output
    assert not (box / "back").exists() and "Traceback" not in done.output


def test_xml_with_entities_is_refused(box: Path) -> None:
    done = cvat(box, "", '<!DOCTYPE a [<!ENTITY b "bb">]>')
    assert done.exit_code == 4 and "document type" in done.stderr


def test_options_that_do_not_go_together(box: Path) -> None:
    done = wsseg("convert", "masks", box / "x.json", box / "back", "--from", "coco", "--form", "rgb")
    assert done.exit_code == 2 and "--form" in done.stderr
    done = wsseg("convert", "masks", box / "masks", box / "back", "--ignore", "x")
    assert done.exit_code == 2 and "only with --from" in done.stderr
    done = wsseg("convert", "masks", box / "x.json", box / "back", "--from", "coco")
    assert done.exit_code == 4 and "x.json: no such file" in done.stderr
    (box / "x.json").mkdir()
    done = wsseg("convert", "masks", box / "x.json", box / "back", "--from", "coco")
    assert done.exit_code == 4 and "x.json: a folder" in done.stderr


def test_a_label_to_ignore_that_the_file_does_not_have(box: Path) -> None:
    coco(box)
    done = wsseg("convert", "masks", box / "in.json", box / "again", "--from", "coco", "--ignore", "dgo")
    assert done.exit_code != 0 and "--ignore dgo: no label of" in done.stderr and "'cat', 'dog'" in done.stderr
    assert not (box / "again").exists()
