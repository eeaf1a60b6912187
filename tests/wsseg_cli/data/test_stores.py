from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsseg_cli.data.files import file_stem, write_atomically
from wsseg_cli.data.stores import MaskStore, ScoreStore, checked_mask
from wsseg_cli.errors import DataError, StageError
from wsseg_cli.types import ClassNames, ScoreMap


def score_map(image_id: str = "a/b", classes: int = 2) -> ScoreMap:
    rng = np.random.default_rng(0)
    scores = rng.random((classes, 13, 18), dtype=np.float32) * 1.2 - 0.1
    return ScoreMap(image_id, np.arange(classes) * 3, scores, (13, 18), rng.random((13, 18), dtype=np.float32))


def test_scores_come_back(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    store.write(score_map())
    got = store["a/b"]
    np.testing.assert_allclose(got.scores, score_map().scores.clip(0, 1), atol=5e-4)
    assert got.size == (13, 18) and got.classes.tolist() == [0, 3] and got.background is not None
    assert store.missing(["a/b", "c"]) == ["c"] and list(store) == ["a/b"]


def test_stride_and_no_class(tmp_path: Path) -> None:
    store = ScoreStore(tmp_path)
    store.write(score_map(), stride=4)
    assert store["a/b"].scores.shape == (2, 4, 5)
    store.write(score_map("none", 0))
    assert store["none"].full(0.5).shape == (1, 13, 18)


def test_a_second_resolution_comes_back_as_it_is(tmp_path: Path) -> None:
    store, strided = ScoreStore(tmp_path), np.random.default_rng(1).random((2, 4, 5), dtype=np.float32)
    store.write(replace(score_map(), strided=strided), stride=2)
    store.write(score_map("plain"))
    got = store["a/b"]
    assert got.scores.shape == (2, 7, 9) and got.strided is not None
    np.testing.assert_array_equal(got.strided, strided.astype(np.float16))
    assert store["plain"].strided is None
    assert store.without_strided(["a/b", "plain", "missing"]) == ["plain"]


def test_equal_maps_are_equal_files(tmp_path: Path) -> None:
    code = (
        "import sys, numpy as np; from pathlib import Path; from wsseg_cli.data.stores import ScoreStore;"
        "from wsseg_cli.types import ScoreMap;"
        "ScoreStore(Path(sys.argv[1])).write(ScoreMap('x', np.array([1]), np.ones((1, 3, 3), 'f4'), (3, 3)))"
    )
    for name in ("one", "two"):
        subprocess.run([sys.executable, "-c", code, str(tmp_path / name)], check=True, cwd=Path(__file__).parents[3])
    assert (tmp_path / "one/x.safetensors").read_bytes() == (tmp_path / "two/x.safetensors").read_bytes()


def test_masks_and_what_they_may_hold(tmp_path: Path) -> None:
    classes, store = ClassNames(["cat", "dog"]), MaskStore(tmp_path)
    mask = np.array([[0, 1], [2, 255]], np.uint8)
    store.write("m", mask)
    assert (store.read("m", classes, (2, 2)) == mask).all()
    with pytest.raises(DataError, match="the mask is 2x2 pixels, its image 3x2"):
        store.read("m", classes, (2, 3))
    with pytest.raises(DataError, match="mask value 2 is out of range for 1 classes"):
        checked_mask(store.path("m"), ClassNames(["cat"]))
    with pytest.raises(StageError, match="no mask for image 'n'"):
        store.read("n", classes)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=300), min_size=2, max_size=2, unique=True))
def test_stems_are_safe_and_different(ids: list[str]) -> None:
    ids = [i.encode(errors="ignore").decode() or "x" for i in ids]
    stems = [file_stem(i) for i in ids]
    for stem in stems:
        assert "/" not in stem and not stem.startswith(".") and len(stem.encode()) < 240
    assert (stems[0] == stems[1]) == (ids[0] == ids[1])


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    def broken(path: Path) -> None:
        path.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(DataError, match="No space left"):
        write_atomically(tmp_path / "x", broken)
    assert list(tmp_path.iterdir()) == []
