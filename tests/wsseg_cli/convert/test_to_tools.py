"""Masks for labelling tools: what stands beside them, and exports that are refused as a whole."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from labelling import FILES, IGNORED, MASKS, NAMES, export, wsseg
from made_up_run import write_run

from wsseg_cli.data.images import read_mask
from wsseg_cli.data.stores import write_mask


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


WRONG_EXPORTS: dict[str, tuple[list[object], int, str]] = {
    "suffix": (["coco", "a.txt"], 2, "FILE.json"),
    "tool": (["yolo", "a.txt"], 2, "unknown target 'yolo'"),
    "ignore is a class": (["coco", "a.json", "--ignore", "cat"], 2, "choose another name"),
    "ignore in PNG": (["png", "a", "--ignore", "x"], 2, "PNGs hold 255"),
    "scores": (["coco", "a.json", "--scores", "s.json"], 2, "--scores"),
    "no scores": (["label-studio", "a.json", "--scores", "s.json"], 4, "s.json: no such file"),
    "over what is read": (["png", "masks"], 2, "would overwrite"),
    "what of no run": (["png", "a", "--what", "seg"], 2, "is not a run"),
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
        wrong = np.full((13, 18), 9) if fault == "value" else np.zeros((12, 18))
        write_mask(box / "masks" / "pixel.png", wrong.astype(np.uint8))
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


def test_a_folder_of_pngs_is_not_written_over_unless_asked(box: Path) -> None:
    assert export(box, "png", "out").exit_code == 0
    corrected = next((box / "out").glob("*.png"))
    corrected.write_bytes(b"by hand")
    again = export(box, "png", "out")
    assert again.exit_code == 2 and "add --force" in again.output and corrected.read_bytes() == b"by hand"
    assert export(box, "png", "out", "--force").exit_code == 0
    assert corrected.read_bytes() != b"by hand"


def test_png_of_a_folder(box: Path) -> None:
    assert export(box, "png", "out").exit_code == 0
    assert (box / "out" / "classes.txt").read_text(encoding="utf-8").splitlines() == NAMES
    for name, mask in MASKS.items():
        np.testing.assert_array_equal(read_mask(box / "out" / f"{name.replace('/', '%2F')}.png"), mask)


def test_pseudo_masks_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = write_run(tmp_path / "run")
    done = wsseg("export", "masks", run, "--to", "coco", "--out", tmp_path / "out.json", "--classes", tmp_path / "x")
    assert done.exit_code == 2 and "leave --classes and --photos out" in done.stderr
    # a run made by hand has no fingerprints
    monkeypatch.setattr("wsseg_cli.run.directory.RunDir.require", lambda *_: {})
    done = wsseg("export", "masks", run, "--what", "pseudo", "--to", "coco", "--out", tmp_path / "out.json")
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("masks      4 masks of 2 classes in")
    names = [image["file_name"] for image in json.loads((tmp_path / "out.json").read_text())["images"]]
    assert names == [f"made/up{number}.png" for number in range(4)]
    done = wsseg("convert", "masks", tmp_path / "out.json", tmp_path / "back", "--from", "coco")
    assert done.exit_code == 0, done.output
    for path in (run / "pseudo").iterdir():
        np.testing.assert_array_equal(read_mask(tmp_path / "back" / path.name), read_mask(path))
    words = ["export", "masks", run, "--to", "png", "--out", tmp_path / "png"]
    assert wsseg(*words, "--what", "pseudo", "--split", "train").exit_code == 0
    assert [path.name for path in sorted((tmp_path / "png").iterdir())] == ["classes.txt", "made%2Fup0.png"]
    done = wsseg(*words, "--what", "seg")
    assert done.exit_code == 5 and "wsseg eval --what seg --split val" in done.stderr
    (tmp_path / "photos" / "2.png").unlink()
    done = wsseg(*words, "--what", "pseudo")
    assert done.exit_code == 4 and "1 photos are missing" in done.stderr
