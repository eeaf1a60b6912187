"""Random sizes and horizontal flips."""

from __future__ import annotations

import numpy as np
import pytest
from golden_cases import Case, golden

from wsseg_cli.data.transforms import CropBox, Flip, Normalize, Rescale, ResizeLong, crop
from wsseg_cli.data.transforms import resize as resize_arrays
from wsseg_cli.types import IMAGENET, Normalization


def prefixes(case: Case) -> list[str]:
    return sorted({name.split("/")[0] for name in case.inputs})


@golden("eps_augment")
def test_resize_flip_normalise_crop(case: Case) -> None:
    for prefix in prefixes(case):
        given = {name.split("/")[1]: value for name, value in case.inputs.items() if name.startswith(f"{prefix}/")}
        arrays = {"image": given["image"], "saliency": given["saliency"]}
        arrays = ResizeLong(1, 1).apply(arrays, int(given["target_long"]))
        height, width = arrays["image"].shape[:2]
        case.check(f"{prefix}/resized_wh", np.array([width, height]))
        case.check(f"{prefix}/resized_saliency", arrays["saliency"])
        arrays = Flip().apply(arrays, bool(given["flip"]))
        arrays = Normalize(IMAGENET).apply(arrays)
        side = int(given["crop"])
        box = CropBox(
            side,
            int(given["img_top"]),
            int(given["img_left"]),
            int(given["cont_top"]),
            int(given["cont_left"]),
            min(height, side),
            min(width, side),
        )
        arrays = crop(arrays, box)
        case.check(f"{prefix}/image_out", arrays["image"].transpose(2, 0, 1))
        case.check(f"{prefix}/saliency_out", arrays["saliency"][None])
    assert case.checked == set(case.outputs)


@golden("seg_kazuto_augment")
def test_caffe_style_pipeline(case: Case) -> None:
    """The flip follows the crop; the mean is 0 after subtraction, so cropping after normalising pads the same."""
    a = case.arguments
    normalize = Normalization(tuple(a["mean_bgr"]), (1.0, 1.0, 1.0), scale=1.0, order="BGR")
    arrays = {"image": case.inputs["image_bgr"][..., ::-1], "mask": case.inputs["label"]}
    arrays = Rescale(interpolation="opencv_linear").apply(arrays, a["scale"])
    height, width = arrays["image"].shape[:2]
    arrays = Normalize(normalize).apply(arrays)
    top, left = a["crop_top_left_after_padding"]
    arrays = crop(arrays, CropBox(a["crop"], top, left, 0, 0, min(height, a["crop"]), min(width, a["crop"])))
    arrays = Flip().apply(arrays, a["flip"])
    case.check_all({"image": arrays["image"].transpose(2, 0, 1), "label": arrays["mask"]})


def test_resize_long_draws_both_ends() -> None:
    step, rng = ResizeLong(256, 259), np.random.default_rng(0)
    assert {step.draw(rng, (10, 10)) for _ in range(200)} == {256, 257, 258, 259}


def test_rescale_draws_one_of_the_choices_or_between() -> None:
    rng = np.random.default_rng(0)
    assert {Rescale((0.5, 1.5)).draw(rng, (10, 10)) for _ in range(50)} == {0.5, 1.5}
    factors = [Rescale(between=(0.5, 1.5)).draw(rng, (10, 10)) for _ in range(50)]
    assert 0.5 <= min(factors) < 0.7 and 1.3 < max(factors) <= 1.5


@pytest.mark.parametrize("interpolation", ["pillow_bicubic", "pillow_bilinear", "opencv_cubic", "opencv_linear"])
def test_everything_on_the_image_keeps_its_size(interpolation: str) -> None:
    arrays = {
        "image": np.zeros((40, 61, 3), np.uint8),
        "mask": np.full((40, 61), 7, np.uint8),
        "saliency": np.zeros((40, 61), np.uint8),
        "scores": np.ones((2, 40, 61), np.float32),
        "label": np.ones(20, np.float32),
    }
    resized = Rescale(interpolation=interpolation).apply(arrays, 0.73)
    size = resized["image"].shape[:2]
    assert resized["mask"].shape == resized["saliency"].shape == resized["scores"].shape[1:] == size
    assert (resized["mask"] == 7).all() and resized["label"] is arrays["label"]
    flipped = Flip().apply(resized, True)
    assert flipped["scores"].shape == (2, *size)


def test_flip_turns_all_arrays() -> None:
    row = np.arange(6, dtype=np.uint8)
    arrays = {"image": np.repeat(row[None, :, None], 3, 2), "mask": row[None], "scores": row[None, None]}
    flipped = Flip().apply(arrays, True)
    assert flipped["mask"][0, 0] == flipped["image"][0, 0, 0] == flipped["scores"][0, 0, 0] == 5
    assert Flip().apply(arrays, False) is arrays


def test_same_size_is_left_alone() -> None:
    image = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert (resize_arrays({"image": image}, (5, 6))["image"] == image).all()
