"""OpenCV by the package and by our emulation: how far the two are apart, and that the recipe alone decides."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from golden_cases import load_case

from wsseg_cli.data.transforms import Flip, HsvShift, Rescale, colour, hsv_shift, segmentation_transform
from wsseg_cli.errors import RecipeError
from wsseg_cli.ops import opencv
from wsseg_cli.ops.resize import nearest_resize, opencv_resize, resize_image, scaled_size
from wsseg_cli.settings import AugmentSettings

FACTORS = (0.5, 0.77, 1.3)


@pytest.fixture
def cv2() -> Any:
    return pytest.importorskip("cv2", reason="opencv is not installed")


@pytest.fixture
def image() -> np.ndarray:
    """Colours of all kinds, smooth in places."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return opencv_resize(coarse, (75, 100), "cubic") // 8 * 8 + rng.integers(0, 8, (75, 100, 3), dtype=np.uint8)


@pytest.mark.parametrize("factor", FACTORS)
def test_the_emulation_resizes_as_the_package(cv2: Any, image: np.ndarray, factor: float) -> None:
    size = scaled_size(image.shape[:2], factor)
    ours, theirs = opencv_resize(image, size, "cubic", factor), opencv.resize(image, size, "cubic", factor)
    assert ours.shape == theirs.shape and ours.dtype == theirs.dtype == np.uint8
    assert np.abs(ours.astype(int) - theirs).max() <= 1 and np.mean(ours != theirs) < 1e-3
    floats = image.astype(np.float32)
    for kernel in ("cubic", "linear"):
        given = (floats, size, kernel, factor if kernel == "cubic" else None)
        np.testing.assert_allclose(opencv_resize(*given), opencv.resize(*given), atol=1e-3)
    nearest = cv2.resize(image[..., 0], None, fx=factor, fy=factor, interpolation=cv2.INTER_NEAREST)
    assert np.array_equal(nearest_resize(image[..., 0], size, factor), nearest)


@pytest.mark.parametrize("shift", [(0, 0, 0), (7, -9, 10), (-10, 10, -3)])
def test_the_emulation_shifts_colours_as_the_package(cv2: Any, image: np.ndarray, shift: tuple[int, int, int]) -> None:
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
    assert np.array_equal(np.stack(colour._to_hsv(image), axis=2), hsv)
    ours, theirs = hsv_shift(image, *shift), opencv.hsv_shift(image, *shift)
    assert np.abs(ours.astype(int) - theirs).max() <= 1 and np.mean(ours != theirs) < 0.06


def test_the_package_gives_what_the_published_pipeline_gave(cv2: Any) -> None:
    case = load_case("seg_wseg_augment")
    a = case.arguments
    arrays = {"image": case.inputs["image_rgb"], "mask": case.inputs["label"]}
    arrays = HsvShift(opencv="library").apply(arrays, (a["delta_h"], a["delta_s"], a["delta_v"]))
    case.check("after_hsv", arrays["image"])
    arrays = Flip().apply(arrays, a["flip"])
    case.check(
        "after_scale", Rescale(interpolation="opencv_cubic", opencv="library").apply(arrays, a["scale"])["image"]
    )


AUGMENT = {"hsv": (10, 10, 10), "scale_range": (0.5, 1.5), "interpolation": "opencv_cubic", "crop": 56}


def batch(**settings: Any) -> np.ndarray:
    transform = segmentation_transform(AugmentSettings(**AUGMENT, **settings))
    rng = np.random.default_rng(1)
    photo = rng.integers(0, 256, (60, 80, 3), dtype=np.uint8)
    arrays = {"image": photo, "label": np.ones(2, np.float32), "mask": np.zeros((60, 80), np.uint8)}
    return np.asarray(transform(arrays, np.random.default_rng(2))["image"])


def test_a_recipe_says_who_computes(cv2: Any) -> None:
    emulated, library = batch(), batch(opencv="library")
    assert not np.array_equal(emulated, library)
    np.testing.assert_allclose(emulated, library, atol=3 / 255 / 0.2)
    assert opencv.version("library") == {"opencv": cv2.__version__} and opencv.version("emulated") == {}


def test_what_is_installed_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = batch()
    monkeypatch.setitem(sys.modules, "cv2", None)
    assert np.array_equal(batch(), before)
    with pytest.raises(RecipeError, match=r"pip install 'wsseg\[opencv\]'"):
        batch(opencv="library")
    with pytest.raises(RecipeError, match="needs the package"):
        resize_image(np.zeros((4, 4, 3), np.uint8), (2, 2), "opencv_linear", by="library")


def test_a_choice_that_nothing_reads_is_refused() -> None:
    with pytest.raises(ValueError, match="not used without hsv"):
        AugmentSettings(opencv="library", scale_range=(0.5, 1.5))
