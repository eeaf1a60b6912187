"""Colour jitter, HSV shift, normalisation."""

from __future__ import annotations

import numpy as np
from golden_cases import Case, golden
from recorded import Recorded

from wsseg_cli.data.transforms import (
    ColorJitter,
    Crop,
    Flip,
    HsvShift,
    Jitter,
    Normalize,
    Rescale,
    color_jitter,
    crop,
    hsv_shift,
)
from wsseg_cli.types import IMAGENET


@golden("color_jitter")
def test_color_jitter(case: Case) -> None:
    for prefix in ("0", "1", "2"):
        factors = case.inputs[f"{prefix}/factors_b_c_s_h"].tolist()
        jitter = Jitter(tuple(case.inputs[f"{prefix}/order"].tolist()), *factors)
        case.check(f"{prefix}/image_out", color_jitter(case.inputs[f"{prefix}/image"], jitter))
    widths = case.arguments
    for _ in range(100):
        drawn = ColorJitter(0.3, 0.3, 0.3, 0.1).draw(np.random.default_rng(), (1, 1))
        for name in ("brightness", "contrast", "saturation", "hue"):
            assert widths[name][0] <= getattr(drawn, name) <= widths[name][1]
    assert case.checked == set(case.outputs)


@golden("seg_wseg_augment")
def test_hsv_flip_scale_normalise_crop(case: Case) -> None:
    a = case.arguments
    arrays = {"image": case.inputs["image_rgb"], "mask": case.inputs["label"]}
    arrays = HsvShift().apply(arrays, (a["delta_h"], a["delta_s"], a["delta_v"]))
    case.check("after_hsv", arrays["image"])
    arrays = Flip().apply(arrays, a["flip"])
    arrays = Rescale(interpolation="opencv_cubic").apply(arrays, a["scale"])
    case.check("after_scale", arrays["image"])
    arrays = Normalize(IMAGENET).apply(arrays)
    draws = Recorded([draw["choices"], draw["value"]] for draw in a["crop_draws"])
    arrays = crop(arrays, Crop(a["crop"]).draw(draws, arrays["image"].shape[:2]))
    case.check("image", arrays["image"].transpose(2, 0, 1))
    case.check("label", arrays["mask"].astype(case.outputs["label"].dtype))
    assert case.checked == set(case.outputs)


def test_no_shift_gives_the_image_back_to_a_few_levels() -> None:
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    assert np.abs(hsv_shift(image, 0, 0, 0).astype(int) - image).max() <= 4


def test_hsv_of_grey_and_black_stays_grey() -> None:
    grey = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert (hsv_shift(grey, 7, 0, 0) == grey).all()


def test_widths_above_one_do_not_give_negative_factors() -> None:
    drawn = [ColorJitter(3.0, 3.0, 3.0, 0.5).draw(np.random.default_rng(i), (1, 1)) for i in range(50)]
    assert min(d.brightness for d in drawn) >= 0
