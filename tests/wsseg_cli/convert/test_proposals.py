from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from wsseg_cli.data import proposal_records
from wsseg_cli.data.proposals import ProposalStore
from wsseg_cli.main import app


def wsseg(*words: object) -> Any:
    return CliRunner().invoke(app, ["convert", "proposals", *map(str, words)], env={"COLUMNS": "200"})


def saved(path: Path, pixels: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(pixels)).save(path)


def masks(folder: Path, image_id: str) -> list[Any]:
    found = ProposalStore(folder).read(image_id)
    return [found.mask(number).astype(int).tolist() for number in range(len(found))]


def test_stack_of_pngs_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (0, 2, 10):
        piece = np.zeros((1, 3), np.uint8)
        piece[0, number % 9 % 3] = 255
        saved(tmp_path / "in" / "a" / f"{number}.png", piece)
    saved(tmp_path / "in" / "deep" / "b" / "0.png", np.array([[0, 1]], np.uint8))
    said = wsseg(tmp_path / "in", tmp_path / "out")
    assert said.exit_code == 0 and "stack" in said.output and "4, 1 to 3 an image" in said.output
    assert masks(tmp_path / "out", "a") == [[[1, 0, 0]], [[0, 0, 1]], [[0, 1, 0]]]
    assert masks(tmp_path / "out", "deep/b") == [[[0, 1]]]


@pytest.mark.parametrize("kind", ["uint8", "uint16", "npy"])
def test_label_images(tmp_path: Path, kind: str) -> None:
    regions = np.array([[0, 5], [5, 9]])
    if kind == "npy":
        (tmp_path / "in").mkdir()
        np.save(tmp_path / "in" / "a.npy", regions)
    else:
        saved(tmp_path / "in" / "a.png", regions.astype(kind) * (1 if kind == "uint8" else 300))
    assert wsseg(tmp_path / "in", tmp_path / "out", "--zero", "none").exit_code == 0
    assert masks(tmp_path / "out", "a") == [[[0, 1], [1, 0]], [[0, 0], [0, 1]]]
    assert wsseg(tmp_path / "in", tmp_path / "out").exit_code == 0
    assert len(masks(tmp_path / "out", "a")) == 3


def test_json_says_all(tmp_path: Path) -> None:
    saved(tmp_path / "in" / "a.png", np.array([[0, 1]], np.uint8))
    said = json.loads(wsseg(tmp_path / "in", tmp_path / "out", "--json").stdout)
    assert said.pop("schema_version") == 1
    assert said == {"out": str(tmp_path / "out"), "form": "labels", "written": 1, "proposals": 2, "failures": []}


def test_bad_images_are_named_and_the_others_written(tmp_path: Path) -> None:
    source, out, photos = tmp_path / "in", tmp_path / "out", tmp_path / "photos"
    for image_id in ("colours", "values", "sizes", "good", "small", "stranger"):
        saved(source / image_id / "0.png", np.full((4, 6), 255, np.uint8))
    saved(source / "colours" / "1.png", np.zeros((4, 6, 3), np.uint8))
    saved(source / "values" / "1.png", np.arange(24, dtype=np.uint8).reshape(4, 6))
    saved(source / "sizes" / "1.png", np.zeros((6, 4), np.uint8))
    (source / "broken").mkdir()
    (source / "broken" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    for image_id in ("colours", "values", "sizes", "broken", "good", "lost"):
        saved(photos / f"{image_id}.png", np.zeros((4, 6, 3), np.uint8))
    saved(photos / "small.png", np.zeros((6, 4, 3), np.uint8))
    said = wsseg(source, out, "--images", photos)
    assert said.exit_code == 4 and "7 of 8 images were not converted" in said.output
    for words in (
        "colours/1.png: a picture of mode RGB",
        "values/1.png: values [0, 1, 2, 3, 4, 5, 6, 7]",
        "sizes: masks of 2 sizes, 6x4 and 4x6",
        "broken/0.png",
        "small: proposals of 6x4 pixels, the photo has 4x6",
        "no photo 'stranger'",
        "lost.png: no proposals of this photo",
    ):
        assert words in said.output, said.output
    assert [path.name for path in out.iterdir()] == ["good.json"]


def test_exif_turn_is_said(tmp_path: Path) -> None:
    saved(tmp_path / "in" / "a.png", np.zeros((4, 6), np.uint8))
    photo = Image.fromarray(np.zeros((4, 6, 3), np.uint8))
    exif = photo.getexif()
    exif[0x0112] = 6
    (tmp_path / "photos").mkdir()
    photo.save(tmp_path / "photos" / "a.jpg", exif=exif)
    said = wsseg(tmp_path / "in", tmp_path / "out", "--images", tmp_path / "photos")
    assert said.exit_code == 4 and "the photo has 4x6; they were made without its EXIF turn" in said.output


@pytest.mark.parametrize(
    "words, code, said",
    [
        (["none", "out"], 4, "none: no such folder"),
        (["empty", "out"], 4, "empty: holds no proposals of the form labels"),
        (["empty", "empty"], 2, "would overwrite"),
        (["empty", "out", "--form", "png"], 2, "unknown form 'png'"),
        (["empty", "out", "--zero", "no"], 2, "zero is 'no'"),
        (["empty", "out", "--images", "none"], 4, "none: no such folder"),
    ],
)
def test_what_cannot_be_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    done = wsseg(*words)
    assert (done.exit_code, said in done.output) == (code, True), done.output


@pytest.mark.parametrize("array", [np.zeros((2, 2, 2), int), np.zeros((2, 2)), np.zeros((0, 2), int)])
def test_arrays_that_are_no_label_image(tmp_path: Path, array: np.ndarray) -> None:
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", array)
    said = wsseg(tmp_path / "in", tmp_path / "out")
    assert said.exit_code == 4 and "a label image is (H, W) whole numbers" in said.output


@pytest.mark.parametrize("form", ["labels", "stack"])
def test_pixels_that_change_too_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    monkeypatch.setattr(proposal_records, "MOST_RUNS", 20)
    saved(tmp_path / "in" / "a" / "0.png", np.indices((6, 6), np.uint8).sum(0, dtype=np.uint8) % 2)
    said = wsseg(tmp_path / "in", tmp_path / "out", "--form", form)
    assert said.exit_code == 4 and "0.png: 36 runs of pixels; at most 20 are read" in said.output
