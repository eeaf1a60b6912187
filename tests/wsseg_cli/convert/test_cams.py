from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsseg_cli.convert.cams import run, score_map
from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.errors import DataError, RecipeError
from wsseg_cli.types import ScoreMap

MAPS = np.linspace(0, 1, 2 * 9 * 13, dtype=np.float32).reshape(2, 9, 13)
GROUND = 1 - MAPS.max(0)


def files() -> dict[str, tuple[str | None, Any]]:
    """Return a file of each repository, as its script writes it, for classes 3 and 7."""
    keys = np.array([0, 4, 8])
    return {
        "psa": (None, {7: MAPS[1], 3: MAPS[0]}),
        "crf": ("crf", {0: GROUND, 4: MAPS[0], 8: MAPS[1]}),
        "irn": (None, {"keys": torch.tensor([3, 7]), "cam": torch.zeros(2, 3, 4), "high_res": MAPS}),
        "puzzlecam": (None, {"keys": keys, "cam": torch.zeros(2, 3, 4), "hr_cam": MAPS}),
        "walk": (None, {"keys": keys, "rw": MAPS}),
        "recurseed": (None, {"keys": keys, "seed": MAPS}),
        "recurseed multi-stage": (None, {"keys": keys, "seed": np.concatenate([GROUND[None], MAPS])}),
        "recurseed without background": (None, {"keys": keys[1:], "seed": MAPS}),
    }


@pytest.mark.parametrize("name", list(files()))
@pytest.mark.parametrize("suffix", [".npy", ".pkl"])
def test_every_repository(tmp_path: Path, name: str, suffix: str) -> None:
    form, value = files()[name]
    source = tmp_path / "in" / f"2007_000032{suffix}"
    source.parent.mkdir()
    if suffix == ".npy":
        np.save(source, value)
    else:
        source.write_bytes(pickle.dumps(value))
    done = run(source.parent, tmp_path / "out", form=form, num_classes=8)
    assert (done.written, done.failures, dict(done.counts)) == (1, [], {3: 1, 7: 1})
    got = ScoreStore(tmp_path / "out")["2007_000032"]
    assert got.classes.tolist() == [3, 7] and got.size == (9, 13)
    np.testing.assert_allclose(got.scores, MAPS, atol=5e-4)
    assert (got.strided is not None) == (name in ("irn", "puzzlecam"))
    assert (got.background is not None) == (name in ("crf", "recurseed multi-stage"))
    if got.background is not None:
        np.testing.assert_allclose(got.background, GROUND, atol=5e-4)


@pytest.mark.parametrize("form", ["psa", "crf", "irn", "puzzlecam"])
def test_there_and_back(tmp_path: Path, form: Any) -> None:
    scores = ScoreMap("a", np.array([3, 7]), MAPS.astype(np.float16).astype(np.float32), (9, 13), GROUND)
    ScoreStore(tmp_path / "ours").write(scores)
    assert run(tmp_path / "ours", tmp_path / "theirs", form=form).written == 1
    value = np.load(tmp_path / "theirs" / "a.npy", allow_pickle=True).item()
    if form in ("irn", "puzzlecam"):
        assert isinstance(value["cam"], torch.Tensor) and value["cam"].shape == (2, 3, 4)
        assert list(value["keys"]) == ([3, 7] if form == "irn" else [0, 4, 8])
    assert run(tmp_path / "theirs", tmp_path / "again", form=form).written == 1
    got = ScoreStore(tmp_path / "again")["a"]
    np.testing.assert_array_equal(got.scores, scores.scores)
    assert got.classes.tolist() == [3, 7]


def test_ids_stride_and_quirk(tmp_path: Path) -> None:
    (tmp_path / "in" / "sub").mkdir(parents=True)
    np.save(tmp_path / "in" / "sub" / "a.npy", {2: np.where(MAPS[0] > 0.3, 255.0, 0.0)})
    failed = run(tmp_path / "in", tmp_path / "out")
    assert failed.written == 0 and "--divide 255" in failed.failures[0][1]
    assert run(tmp_path / "in", tmp_path / "out", divide=255, stride=4).written == 1
    got = ScoreStore(tmp_path / "out")["sub/a"]
    assert got.size == (9, 13) and got.scores.shape == (1, 3, 4)


@pytest.mark.parametrize(
    "value",
    [
        {},
        [1],
        {"a": 1},
        {3: MAPS},
        {3: MAPS[0], 4: MAPS[0, :4]},
        {3: np.full((2, 2), np.nan)},
        {3: np.full((2, 2), 1.5)},
        {-1: MAPS[0]},
        {3: np.zeros((0, 4))},
        {3: np.array([[{}]], dtype=object)},
        {"high_res": MAPS},
        {"keys": np.array([3.0]), "high_res": MAPS},
        {"keys": np.array([3]), "high_res": MAPS},
        {"keys": np.array([3, 3]), "high_res": MAPS},
        {"keys": np.array([0, 1, 2, 3]), "seed": MAPS},
        {"keys": np.array([3, 7]), "high_res": MAPS[0]},
    ],
)
def test_what_is_no_score_map(value: Any) -> None:
    with pytest.raises(DataError):
        score_map(value, "a")


def test_good_files_are_written_beside_bad_ones(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.mkdir()
    np.save(source / "good.npy", {1: MAPS[0]})
    np.save(source / "above.npy", {9: MAPS[0]})
    (source / "code.npy").write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "x").encode() + b"'\ntR.")
    (source / "empty.pkl").touch()
    done = run(source, tmp_path / "out", num_classes=3)
    assert done.written == 1 and sorted(path.name for path, _ in done.failures) == [
        "above.npy",
        "code.npy",
        "empty.pkl",
    ]
    assert not (tmp_path / "x").exists()


def test_wrong_calls(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        run(tmp_path / "nowhere", tmp_path)
    with pytest.raises(DataError, match="holds no"):
        run(tmp_path, tmp_path / "out")
    with pytest.raises(RecipeError, match="unknown form"):
        run(tmp_path, tmp_path, form="other")  # type: ignore[arg-type]
