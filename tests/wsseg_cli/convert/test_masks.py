from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from wsseg_cli.convert.masks import run
from wsseg_cli.data.images import read_mask
from wsseg_cli.data.palette import palette, voc_colours
from wsseg_cli.errors import DataError, RecipeError

MASK = np.array([[0, 1, 2], [3, 80, 255]], np.uint8)


def saved(folder: Path, name: str, pixels: np.ndarray) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)
    return folder


@pytest.mark.parametrize("to", ["index", "rgb", "coco", "palette"])
def test_there_and_back(tmp_path: Path, to: Any) -> None:
    saved(tmp_path / "in", "sub/a.png", MASK)
    assert run(tmp_path / "in", tmp_path / "out", to=to).written == 1
    with Image.open(tmp_path / "out" / "sub%2Fa.png") as picture:
        assert picture.mode == {"index": "L", "rgb": "RGB", "coco": "L", "palette": "P"}[to]
    done = run(tmp_path / "out", tmp_path / "again", form="coco" if to == "coco" else None)
    assert done.written == 1 and set(done.counts) == {0, 1, 2, 3, 80, 255}
    (path,) = (tmp_path / "again").glob("*.png")
    np.testing.assert_array_equal(read_mask(path), MASK)


def test_category_ids_and_colours(tmp_path: Path) -> None:
    saved(tmp_path / "coco", "a.png", np.array([[0, 1, 13, 90, 255]], np.uint8))
    run(tmp_path / "coco", tmp_path / "out", form="coco")
    assert read_mask(tmp_path / "out" / "a.png").tolist() == [[0, 1, 12, 80, 255]]
    colours = tmp_path / "colours.json"
    colours.write_text(json.dumps({"background": [0, 0, 0], "dog": [1, 2, 3]}))
    saved(tmp_path / "rgb", "a.png", np.array([[[1, 2, 3], [0, 0, 0], [224, 224, 192]]], np.uint8))
    run(tmp_path / "rgb", tmp_path / "named", colours=colours)
    assert read_mask(tmp_path / "named" / "a.png").tolist() == [[1, 0, 255]]
    np.testing.assert_array_equal(palette()[255], [224, 224, 192])
    assert len(np.unique(voc_colours(), axis=0)) == 256


def test_bad_files_are_named(tmp_path: Path) -> None:
    saved(tmp_path / "in", "good.png", MASK)
    saved(tmp_path / "in", "colour.png", np.full((2, 2, 3), (77, 77, 78), np.uint8))
    saved(tmp_path / "in", "above.png", np.full((2, 2), 99, np.uint8))
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG")
    done = run(tmp_path / "in", tmp_path / "out", num_classes=80)
    assert done.written == 1 and [path.name for path, _ in done.failures] == ["above.png", "broken.png", "colour.png"]
    assert "(77, 77, 78)" in done.failures[2][1]
    failed = run(tmp_path / "in", tmp_path / "out2", form="coco").failures
    assert any("80" in reason for _, reason in failed)


@pytest.mark.parametrize("text", ["", "{", "[]", "[[1, 2, 3]]", "[[1, 2, 3], [1, 2]]", "[[1, 2, 3], [1, 2, 300]]", "3"])
def test_broken_colours(tmp_path: Path, text: str) -> None:
    (tmp_path / "c.json").write_text(text)
    with pytest.raises(DataError, match=r"c\.json"):
        run(saved(tmp_path / "in", "a.png", MASK), tmp_path / "out", colours=tmp_path / "c.json")


def test_wrong_calls(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="overwrite"):
        run(saved(tmp_path / "in", "a.png", MASK), tmp_path / "in")
    with pytest.raises(RecipeError, match="unknown form"):
        run(tmp_path / "in", tmp_path / "out", to="jpeg")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="no such folder"):
        run(tmp_path / "nowhere", tmp_path / "out")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no masks"):
        run(tmp_path / "empty", tmp_path / "out")


def with_alpha(mask: np.ndarray, bands: int) -> np.ndarray:
    return np.stack([*[mask] * bands, np.full_like(mask, 255)], axis=-1)


PLAIN = np.array([[0, 1, 2], [3, 20, 255]], np.uint8)
KINDS = {
    "16 bits": PLAIN.astype(np.uint16),
    "16 bits, 65535 ignored": np.where(PLAIN == 255, 65535, PLAIN.astype(np.uint16)).astype(np.uint16),
    "grey with alpha": with_alpha(PLAIN, 1),
    "RGB of equal channels": np.repeat(PLAIN[..., None], 3, axis=2),
    "RGBA of equal channels": with_alpha(PLAIN, 3),
    "colours": voc_colours()[PLAIN],
    "colours with alpha": np.concatenate([voc_colours()[PLAIN], np.full((2, 3, 1), 9, np.uint8)], axis=2),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_masks_of_other_kinds(tmp_path: Path, kind: str, suffix: str) -> None:
    saved(tmp_path / "in", f"a{suffix}", KINDS[kind])
    done = run(tmp_path / "in", tmp_path / "out")
    assert done.failures == []
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "a.png"), PLAIN)


def test_values_that_are_no_classes(tmp_path: Path) -> None:
    saved(tmp_path / "in", "a.png", np.array([[0, 300]], np.uint16))
    ((_, reason),) = run(tmp_path / "in", tmp_path / "out").failures
    assert "value 300; expected 0 to 254" in reason


@pytest.mark.parametrize("kind", ["grey", "one bit", "RGB", "palette", "JPEG"])
def test_0_and_255_become_0_and_1(tmp_path: Path, kind: str) -> None:
    inside = np.zeros((16, 24), bool)
    inside[4:12, 4:12] = True
    picture = Image.fromarray((inside * 255).astype(np.uint8))
    picture = {"one bit": picture.convert("1"), "RGB": picture.convert("RGB")}.get(kind, picture)
    if kind == "palette":
        picture = picture.convert("RGB").quantize(2)
    (tmp_path / "in").mkdir()
    picture.save(tmp_path / "in" / ("a.jpg" if kind == "JPEG" else "a.png"))
    colours = tmp_path / "colours.json"
    colours.write_text("[[0, 0, 0], [255, 255, 255]]")
    assert run(tmp_path / "in", tmp_path / "out", form="rgb", colours=colours).failures == []
    np.testing.assert_array_equal(read_mask(tmp_path / "out" / "a.png"), inside)


def test_a_jpeg_without_colours_is_refused(tmp_path: Path) -> None:
    saved(tmp_path / "in", "a.jpg", np.zeros((8, 8), np.uint8))
    for form in (None, "rgb", "index"):
        ((_, reason),) = run(tmp_path / "in", tmp_path / "out", form=form).failures
        assert "--form rgb --colours FILE" in reason
