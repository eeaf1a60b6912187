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
    saved(tmp_path / "in", "colour.png", np.full((2, 2, 3), 77, np.uint8))
    saved(tmp_path / "in", "above.png", np.full((2, 2), 99, np.uint8))
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG")
    done = run(tmp_path / "in", tmp_path / "out", num_classes=80)
    assert done.written == 1 and [path.name for path, _ in done.failures] == ["above.png", "broken.png", "colour.png"]
    assert "(77, 77, 77)" in done.failures[2][1]
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
