"""Dense CRF on bad and extreme input, its invariants, its backends side by side, and life without the extra."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from wsseg_cli.errors import DataError, RecipeError
from wsseg_cli.ops.crf import (
    PRESETS,
    Backend,
    add_power_background,
    available_backends,
    choose_backend,
    crf_parameters,
    dense_crf,
    labels_of,
    marginals,
    unary_from_labels,
    unary_from_scores,
)
from wsseg_cli.settings import CrfSettings

ROOT = Path(__file__).resolve().parents[3]
BACKENDS = [
    pytest.param(name, marks=() if there else pytest.mark.skip(f"{name} is not installed"))
    for name, there in available_backends().items()
]


def scene(labels: int = 3, size: tuple[int, int] = (23, 31), seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    steps = np.linspace(0, 200, size[1])[None, :, None] + rng.integers(0, 40, (*size, 3))
    scores = rng.random((labels, *size), np.float32) + 0.1
    return steps.astype(np.uint8), scores / scores.sum(0)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_gives_probabilities(preset: str) -> None:
    image, scores = scene()
    q = dense_crf(image, scores, preset)
    assert q.dtype == np.float32 and q.shape == scores.shape
    np.testing.assert_allclose(q.sum(0), 1, atol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("preset", ["psa", "ppc", "deeplab"])
@pytest.mark.parametrize("size", [(23, 31), (8, 9), (1, 1), (1, 7), (5, 1)])
def test_backends_agree(backend: Backend, preset: str, size: tuple[int, int]) -> None:
    image, scores = scene(size=size)
    got = dense_crf(image, scores, preset, backend=backend)
    np.testing.assert_allclose(got, dense_crf(image, scores, preset, backend="numba"), atol=2e-4)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 9).flatmap(
        lambda h: st.integers(1, 9).flatmap(
            lambda w: st.tuples(
                arrays(np.uint8, (h, w, 3)),
                st.integers(1, 6).flatmap(lambda n: arrays(np.float32, (n, h, w), elements=st.floats(-1, 2, width=32))),
            )
        )
    )
)
def test_any_image_and_finite_scores_give_probabilities(drawn: tuple[np.ndarray, np.ndarray]) -> None:
    q = dense_crf(*drawn)
    assert np.isfinite(q).all() and q.min() >= 0
    np.testing.assert_allclose(q.sum(0), 1, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(5)))
def test_order_of_labels_does_not_matter(order: list[int]) -> None:
    image, scores = scene(5)
    np.testing.assert_allclose(dense_crf(image, scores[order]), dense_crf(image, scores)[order], atol=2e-5)


def test_absent_classes_are_merged_exactly() -> None:
    image, scores = scene(2)
    wide = np.concatenate([scores, np.zeros((19, *scores.shape[1:]), np.float32)])
    q = dense_crf(image, wide)
    moved = wide.copy()
    moved[2:, 0, 0] = np.linspace(1e-5, 1.01e-5, 19)  # too little to matter, too much to be equal
    np.testing.assert_allclose(q, dense_crf(image, moved), atol=1e-4)
    np.testing.assert_array_equal(q[2:], np.broadcast_to(q[2], q[2:].shape))


def test_two_threads_and_two_callers_give_the_same() -> None:
    image, scores = scene(6, (40, 50))
    want = dense_crf(image, scores)
    np.testing.assert_allclose(dense_crf(image, scores, threads=2), want, atol=1e-5)
    got: dict[int, np.ndarray] = {}
    callers = [threading.Thread(target=lambda k=k: got.update({k: dense_crf(image, scores)})) for k in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert len(got) == 4
    for q in got.values():
        np.testing.assert_array_equal(q, want)


def test_no_iteration_is_the_softmax_of_the_scores() -> None:
    image, scores = scene()
    np.testing.assert_allclose(dense_crf(image, scores, crf_parameters("psa", iterations=0)), scores, atol=1e-6)


def test_one_pixel_follows_the_update_by_hand() -> None:
    image = np.full((1, 1, 3), 90, np.uint8)
    parameters = crf_parameters("psa", iterations=2)
    scores = np.array([0.4, 0.6], np.float32)
    q = scores.astype(np.float64)
    for _ in range(2):  # a lone pixel sends itself its own q with weight one from each kernel
        logits = np.log(scores.astype(np.float64)) + 13 * q
        q = np.exp(logits - logits.max())
        q /= q.sum()
    np.testing.assert_allclose(dense_crf(image, scores[:, None, None], parameters).ravel(), q, atol=1e-4)


@pytest.mark.parametrize("preset", ["psa", "irn"])
def test_one_label_is_certain(preset: str) -> None:
    image, _ = scene()
    assert (dense_crf(image, np.zeros((1, 23, 31), np.float32), preset) == 1).all()


def test_image_without_foreground_is_background() -> None:
    image, _ = scene()
    scores = add_power_background(np.zeros((0, 23, 31), np.float32), 4)
    assert scores.shape == (1, 23, 31) and (labels_of(dense_crf(image, scores)) == 0).all()
    scores = add_power_background(np.zeros((2, 23, 31), np.float32), 4)
    assert (labels_of(dense_crf(image, scores)) == 0).all()


def test_equal_scores_everywhere_stay_equal() -> None:
    image, _ = scene()
    np.testing.assert_allclose(dense_crf(image, np.full((4, 23, 31), 0.2, np.float32)), 0.25)


def test_three_hundred_labels() -> None:
    image, scores = scene(300, (12, 13))
    q = dense_crf(image, scores)
    np.testing.assert_allclose(q.sum(0), 1, atol=1e-5)
    assert labels_of(q).dtype == np.int64
    hard = dense_crf(image, np.arange(12 * 13).reshape(12, 13) + 140, "irn", labels=300)
    assert hard.shape == (300, 12, 13)


def test_negative_scores_count_as_the_lowest() -> None:
    image, scores = scene()
    below, lowest = scores.copy(), scores.copy()
    below[1, 3:9], lowest[1, 3:9] = -0.5, 0
    np.testing.assert_array_equal(dense_crf(image, below), dense_crf(image, lowest))


def test_cams_above_one_leave_no_background() -> None:
    assert add_power_background(np.full((1, 2, 2), 1.5, np.float32), 2.5)[0].max() == 0


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("image", "values", "message"),
    [
        (np.zeros((4, 5, 3), np.uint8), np.full((2, 4, 5), np.nan, np.float32), "NaN"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((2, 5, 4), np.float32), "5 x 4 pixels, the image 4 x 5"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((0, 4, 5), np.float32), "at least one label"),
        (np.zeros((4, 5, 3), np.uint8), np.zeros((4, 5), np.float32), "expected \\(labels, H, W\\)"),
        (np.zeros((0, 5, 3), np.uint8), np.zeros((2, 0, 5), np.float32), "none of them 0"),
        (np.zeros((4, 5), np.uint8), np.zeros((2, 4, 5), np.float32), "expected \\(H, W, 3\\) uint8"),
        (np.zeros((4, 5, 4), np.uint8), np.zeros((2, 4, 5), np.float32), "expected \\(H, W, 3\\) uint8"),
        (np.zeros((4, 5, 3), np.float32), np.zeros((2, 4, 5), np.float32), "expected \\(H, W, 3\\) uint8"),
    ],
)
def test_bad_scores(backend: Backend, image: np.ndarray, values: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        dense_crf(image, values, backend=backend)


@pytest.mark.parametrize("worst", [np.nan, np.inf, -np.inf, 1e31])
def test_bad_energies(worst: float) -> None:
    unary = np.zeros((2, 4, 5), np.float32)
    unary[1, 2, 3] = worst
    with pytest.raises(DataError, match="energies"):
        marginals(np.zeros((4, 5, 3), np.uint8), unary, PRESETS["psa"])


@pytest.mark.parametrize(
    ("hard", "message"),
    [
        (np.array([[0, 4]]), "from 0 to 4, expected 0 to 3"),
        (np.array([[-1, 2]]), "from -1 to 2"),
        (np.array([[0.5]]), "integers"),
        (np.zeros((1, 1, 1), np.int64), "integers"),
    ],
)
def test_bad_hard_labels(hard: np.ndarray, message: str) -> None:
    with pytest.raises(DataError, match=message):
        unary_from_labels(hard, 4)


def test_bad_settings() -> None:
    image, scores = scene()
    with pytest.raises(RecipeError, match="did you mean 'deeplab'"):
        dense_crf(image, scores, "deeplap")
    with pytest.raises(RecipeError, match="iterations = -1"):
        crf_parameters("psa", iterations=-1)
    with pytest.raises(RecipeError, match="unknown CRF backend 'gpu'"):
        dense_crf(image, scores, backend="gpu")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="threads"):
        dense_crf(image, scores, threads=0)
    with pytest.raises(DataError, match="scale"):
        unary_from_scores(scores, scale=0)
    with pytest.raises(DataError, match="NaN"):
        add_power_background(np.full((1, 2, 2), np.nan), 4)
    with pytest.raises(DataError, match="expected \\(classes, H, W\\)"):
        add_power_background(np.zeros((2, 2)), 4)


@pytest.mark.parametrize("backend", ["numba", "torch"])
def test_kernel_too_narrow_for_the_lattice(backend: Backend) -> None:
    image, scores = scene()
    with pytest.raises(DataError, match="make sxy or srgb larger"):
        dense_crf(image, scores, crf_parameters("psa", bilateral_srgb=0.01), backend=backend)


def test_section_of_a_recipe() -> None:
    section = CrfSettings(preset="deeplab", iterations=3, bilateral_sxy=50.0)
    assert crf_parameters(crf_parameters("irn"), iterations=2).iterations == 2
    assert crf_parameters(section) == crf_parameters("deeplab", iterations=3, bilateral_sxy=50.0)
    assert choose_backend("auto") == "numba" and choose_backend("torch") == "torch"
    image, scores = scene()
    np.testing.assert_array_equal(dense_crf(image, scores, section), dense_crf(image, scores, crf_parameters(section)))


def run(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_works_without_the_extra_and_says_what_to_install() -> None:
    code = """
import importlib.machinery, importlib.util, sys
class Nowhere(importlib.machinery.PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name.partition(".")[0] == "pydensecrf":
            raise ImportError("pydensecrf is not there")
        return None
sys.meta_path.insert(0, Nowhere)
import numpy as np
from wsseg_cli.errors import RecipeError
from wsseg_cli.ops.crf import available_backends, dense_crf
image, scores = np.zeros((6, 7, 3), np.uint8), np.full((2, 6, 7), 0.5, np.float32)
scores[1, 2:4] = 0.9
assert "torch" not in sys.modules and "numba" not in sys.modules
print(dense_crf(image, scores).shape, available_backends()["pydensecrf"], "torch" in sys.modules)
try:
    dense_crf(image, scores, backend="pydensecrf")
except RecipeError as error:
    print(error)
"""
    first, second = run(code).splitlines()
    assert first == "(2, 6, 7) False False"
    assert second.startswith("CRF backend 'pydensecrf' is not installed: pip install 'wsseg[pydensecrf]'")


def test_works_where_no_folder_keeps_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    import numba

    from wsseg_cli.ops.crf.compiled import compiled

    real = numba.njit

    def nowhere(*, cache: bool = False, **options: Any) -> Any:
        if cache:
            raise RuntimeError("cannot cache function: no locator available for file")
        return real(**options)

    monkeypatch.setattr(numba, "njit", nowhere)
    assert compiled(lambda number: number + 1)(2) == 3
