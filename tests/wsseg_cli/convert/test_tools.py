"""Masks to labelling tools and back, pixel by pixel, also through the tools' own libraries; what is refused."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from wsseg_cli.data.images import read_mask
from wsseg_cli.data.stores import write_mask
from wsseg_cli.foreign.brush_codes import pack, unpack
from wsseg_cli.main import app

NAMES = ["cat", "собака, große", "猫 & <b>"]
IGNORED = "unsure"


def masks() -> dict[str, np.ndarray]:
    """Return masks with a hole, several components, touching classes, single pixels, 255 to the borders, and none."""
    made = {name: np.zeros((13, 18), np.uint8) for name in ("a", "sub/ü b", "empty", "full", "pixel")}
    a = made["a"]
    a[1:9, 1:9] = 1
    a[3:6, 3:6] = 0
    a[4, 4] = 2
    a[1:9, 9:12] = 3
    a[10:, 15:] = 255
    a[12, 0] = a[11, 2] = a[0, 17] = 2
    made["sub/ü b"][:] = np.arange(18) % 4
    made["sub/ü b"][5] = 255
    made["full"][:] = 3
    made["pixel"][0, 0] = made["pixel"][12, 17] = 1
    return made


MASKS = masks()


def wsseg(*words: object) -> Any:
    return CliRunner().invoke(app, list(map(str, words)), prog_name="wsseg", env={"COLUMNS": "200"})


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Return a folder with masks, their photos and the names of the classes."""
    for name, mask in MASKS.items():
        write_mask(tmp_path / "masks" / f"{name.replace('/', '%2F')}.png", mask)
        photo = tmp_path / "photos" / f"{name}.jpg"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (18, 13)).save(photo)
    (tmp_path / "names.txt").write_text("\n".join(NAMES) + "\n", encoding="utf-8")
    return tmp_path


def export(box: Path, to: str, out: str, *words: object) -> Any:
    given = ("--classes", box / "names.txt", "--photos", box / "photos")
    return wsseg("export", "masks", box / "masks", "--to", to, "--out", box / out, *given, *words)


def accepted(box: Path, file: str) -> None:
    """Turn predictions into annotations, as somebody does who accepts them in Label Studio."""
    tasks = json.loads((box / file).read_text(encoding="utf-8"))
    for task in tasks:
        task["annotations"] = [{"result": task.pop("predictions")[0]["result"], "was_cancelled": False}]
    (box / file).write_text(json.dumps(tasks), encoding="utf-8")


FILES = {"out.json": "coco", "out.xml": "cvat", "out.zip": "cvat", "tasks.json": "label-studio"}


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
    if form == "voc_segmentation":
        zipfile.ZipFile(box / "d.zip").extractall(box / "d")
    values = {**{name: value for value, name in enumerate(names, 1)}, IGNORED: 255, "background": 0}
    items = items_of(box / "d", form)
    assert set(items) == set(MASKS)
    for name, (labels, item) in items.items():
        parts = [(values[labels[one.label]], one.image > 0) for one in item.annotations]
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


def test_labelling_interface_and_scores(box: Path) -> None:
    (box / "scores.json").write_text(json.dumps({"a": 0.25, "full": 1, "another": 3}))
    done = export(box, "label-studio", "t.json", "--scores", box / "scores.json", "--prefix", "/data/local-files/?d=p/")
    assert done.exit_code == 0 and "3 of 5 photos have no score" in done.stdout
    tasks = {task["data"]["image_id"]: task for task in json.loads((box / "t.json").read_text(encoding="utf-8"))}
    scores = {name: task["predictions"][0].get("score") for name, task in tasks.items()}
    assert scores == {"a": 0.25, "full": 1, "empty": None, "pixel": None, "sub/ü b": None}
    assert tasks["sub/ü b"]["data"]["image"] == "/data/local-files/?d=p/sub/%C3%BC%20b.jpg"
    text = (box / "t.config.xml").read_text(encoding="utf-8")
    assert '<BrushLabels name="label" toName="image">' in text and 'value="猫 &amp; &lt;b&gt;"' in text


def test_labels_for_cvats_constructor(box: Path) -> None:
    export(box, "cvat", "a.xml", "--ignore", IGNORED)
    labels = json.loads((box / "a.labels.json").read_text(encoding="utf-8"))
    assert [label["name"] for label in labels] == [*NAMES, IGNORED]
    assert labels[0] == {"name": "cat", "color": "#800000", "type": "mask", "attributes": []}


def task(name: str, *regions: tuple[str, Any]) -> dict[str, Any]:
    kinds = {list: "rle", tuple: "points"}
    result = []
    for label, value in regions:
        kind = "brushlabels" if isinstance(value, list) else "polygonlabels"
        inner = {kinds[type(value)]: value, kind: [label]}
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
    "a label in two": (
        lambda b: studio(b, task("a.jpg", ("cat", WHOLE)), task("full.jpg", ("tree", WHOLE))),
        4,
        "tree",
    ),
    "predictions alone": (lambda b: studio(b, {"data": {"image": "a.jpg"}, "predictions": []}), 4, "nobody's drawing"),
    "no tasks": (lambda b: studio(b, {"annotations": []}), 4, "`0.data`: field required"),
    "no photo": (lambda b: studio(b, task("none", ("cat", WHOLE))), 4, "`data` names no photo"),
    "of a photo that is not there": (lambda b: studio(b, task("x.jpg", ("cat", WHOLE))), 4, "x: no photo of this name"),
    "twice": (lambda b: studio(b, task("a.jpg"), task("a.jpg")), 4, "occur twice, such as 'a.jpg'"),
    "cut": (lambda b: studio(b, task("a.jpg", ("cat", WHOLE[:9]))), 4, "run lengths that end before the image"),
    "of another size": (lambda b: studio(b, task("a.jpg", ("cat", pack([0, 9], 9)))), 4, "of 9 pixels of 8 bits"),
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
    "too many": (f'<mask label="cat" rle="1, 9" {BOX}/>', "up to 4"),
    "not all": (f'<mask label="cat" rle="1" {BOX}/>', "of 1 pixels; there are 2x2"),
    "no numbers": (f'<mask label="cat" rle="1, x" {BOX}/>', "something else than whole numbers"),
    "outside": ('<mask label="cat" rle="4" left="17" top="0" width="2" height="2"/>', "a box of 2x2 at 17, 0"),
    "no box": ('<mask label="cat" rle="4"/>', "whose box is no whole numbers"),
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


WRONG_EXPORTS: dict[str, tuple[list[object], int, str]] = {
    "suffix": (["coco", "a.txt"], 2, "FILE.json"),
    "tool": (["yolo", "a.txt"], 2, "unknown target 'yolo'"),
    "ignore is a class": (["coco", "a.json", "--ignore", "cat"], 2, "choose another name"),
    "ignore in PNG": (["png", "a", "--ignore", "x"], 2, "PNGs hold 255"),
    "scores": (["coco", "a.json", "--scores", "s.json"], 2, "--scores"),
    "no scores": (["label-studio", "a.json", "--scores", "s.json"], 4, "s.json: no such file"),
    "over what is read": (["png", "masks"], 2, "would overwrite"),
    "what of no run": (["png", "a", "--what", "seg"], 2, "is no run"),
}


@pytest.mark.parametrize("what", WRONG_EXPORTS)
def test_exports_that_cannot_be(box: Path, what: str) -> None:
    words, code, message = WRONG_EXPORTS[what]
    before = sorted(path for path in box.rglob("*"))
    done = export(box, str(words[0]), str(words[1]), *words[2:])
    assert done.exit_code == code and message in done.stderr, done.output
    assert sorted(path for path in box.rglob("*")) == before


@pytest.mark.parametrize("file", [*FILES, "png"])
@pytest.mark.parametrize("fault", ["value", "size", "photo"])
def test_wrong_masks_leave_nothing_behind(box: Path, file: str, fault: str) -> None:
    (box / "names.txt").write_text("cat\ndog\ncow")
    if fault == "photo":
        (box / "photos" / "pixel.jpg").unlink()
    else:
        write_mask(
            box / "masks" / "pixel.png", np.full((13, 18) if fault == "value" else (12, 18), 9 * (fault == "value"))
        )
    before = sorted(path for path in box.rglob("*"))
    done = export(box, FILES.get(file, "png"), file)
    assert done.exit_code == 4 and "pixel" in done.stderr, done.output
    assert sorted(path for path in box.rglob("*")) == before


@pytest.mark.parametrize("name", ["a:b", "#a", "n" * 65, "a\x07b"])
def test_names_that_cvat_cannot_hold(box: Path, name: str) -> None:
    (box / "names.txt").write_text(json.dumps([name, "dog", "cow"]))
    (box / "names.txt").rename(box / "names.json")
    words = ("--classes", box / "names.json", "--photos", box / "photos", "--to", "cvat")
    done = wsseg("export", "masks", box / "masks", *words, "--out", box / "a.zip")
    assert done.exit_code == 4 and repr(name)[:60] in done.stderr and not (box / "a.zip").exists()
    plain = name in ("a:b", "#a")
    assert wsseg("export", "masks", box / "masks", *words, "--out", box / "a.xml").exit_code == (0 if plain else 4)


def test_png_of_a_folder(box: Path) -> None:
    assert export(box, "png", "out").exit_code == 0
    assert (box / "out" / "classes.txt").read_text(encoding="utf-8").splitlines() == NAMES
    for name, mask in MASKS.items():
        np.testing.assert_array_equal(read_mask(box / "out" / f"{name.replace('/', '%2F')}.png"), mask)


def test_options_that_do_not_go_together(box: Path) -> None:
    done = wsseg("convert", "masks", box / "x.json", box / "back", "--from", "coco", "--form", "rgb")
    assert done.exit_code == 2 and "--form" in done.stderr
    done = wsseg("convert", "masks", box / "masks", box / "back", "--ignore", "x")
    assert done.exit_code == 2 and "only with --from" in done.stderr
    done = wsseg("convert", "masks", box / "x.json", box / "back", "--from", "coco")
    assert done.exit_code == 4 and "x.json: no such file" in done.stderr
