"""Square crops."""

from __future__ import annotations

import random

import numpy as np
import pytest
from golden_cases import Case, golden
from published import CenterCrop, short_side_size
from recorded import Recorded

from wsseg_cli.data.transforms import (
    Crop,
    CropBox,
    Flip,
    Jitter,
    Normalize,
    ResizedCrop,
    ResizeLong,
    average_pool,
    color_jitter,
    crop,
    rectangle_torchvision,
    rectangle_tv021,
    window,
)
from wsseg_cli.ops.crf_pixels import restored_pixels
from wsseg_cli.ops.resize import long_side_size, scaled_size
from wsseg_cli.types import IMAGENET, Normalization

VGG = Normalization((104.008, 116.669, 122.675), (1.0, 1.0, 1.0), scale=1.0, order="BGR")


@golden("psa_transforms")
def test_psa(case: Case) -> None:
    image, side = case.inputs["image"], case.arguments["crop"]
    height, width = image.shape[:2]
    normalised = IMAGENET.apply(image)
    randomly = window(normalised, Crop(side).draw(Recorded(case.arguments["randrange_calls"]), (height, width)), 0)
    odd, fill = case.arguments["center_crop_odd"]
    case.check_all(
        {
            "resize_long": ResizeLong(1, 1).apply({"image": image}, case.arguments["target_long"])["image"],
            "normalize_rgb": normalised,
            "normalize_bgr": VGG.apply(image),
            "random_crop": randomly,
            "center_crop": window(normalised, CenterCrop(side).draw(None, (height, width)), 0),
            "center_crop_odd": window(normalised, CenterCrop(odd).draw(None, (height, width)), fill),
            "avg_pool": average_pool(randomly[:40, :40].transpose(2, 0, 1), 8).transpose(1, 2, 0),
        }
    )


@golden("rsepm-transforms")
def test_rsepm(case: Case) -> None:
    image, mask = case.inputs["image"], case.inputs["mask"]
    height, width = image.shape[:2]
    sizes = []
    for row in case.outputs["resize_w_h_s_longside_shortside"].tolist():
        w, h, s = row[:3]
        sizes.append([w, h, s, *long_side_size((h, w), s)[::-1], *short_side_size((h, w), s)[::-1]])
    resized = ResizeLong(1, 1).apply({"image": image, "mask": mask}, int(case.inputs["resize_to"]))
    grey = np.repeat(np.arange(256, dtype=np.uint8)[:, None], 3, axis=1)
    normalised = IMAGENET.apply(image)
    got = {
        "resize_w_h_s_longside_shortside": np.array(sizes),
        "resized_image": resized["image"],
        "resized_mask": resized["mask"],
        "rescaled_size_wh": np.array(scaled_size((height, width), float(case.inputs["rescale"]))[::-1]),
        "normalised": normalised,
        "denormalised": restored_pixels(image, IMAGENET, "float64"),
        "denormalised_all_grey_levels": restored_pixels(grey, IMAGENET, "float64"),
    }
    for side, x0, y0, x1, y1, to_x0, to_y0, to_x1, to_y1 in case.inputs["crop_boxes"].tolist():
        box = CropBox(side, y0, x0, to_y0, to_x0, y1 - y0, x1 - x0)
        assert box.canvas == (to_x0, to_y0, to_x1, to_y1)
        central = CenterCrop(side, "down").draw(None, (height, width))
        for name, place in (("crop", box), ("center", central)):
            cut = crop({"image": normalised, "mask": mask}, place)
            got[f"{name}{side}_image_ch0"], got[f"{name}{side}_mask"] = cut["image"][..., 0], cut["mask"]
        got[f"center{side}_bbox"] = np.array(central.canvas)
    case.check_all(got)


@golden("onestage-train-transform")
def test_single_stage_pipeline(case: Case) -> None:
    a = case.arguments
    arrays = {"image": case.inputs["image"], "mask": case.inputs["mask"]}
    arrays = ResizedCrop(a["out_size"]).apply(arrays, tuple(a["crop_top_left_h_w"]))
    case.check("crop_image", arrays["image"])
    case.check("crop_mask", arrays["mask"].astype(case.outputs["crop_mask"].dtype))
    arrays = Flip().apply(arrays, a["flip"])
    case.check("flip_image", arrays["image"])
    jitter = Jitter(tuple(a["jitter_order"]), *(a[name] for name in a["jitter_op_names"]))
    arrays = {**arrays, "image": color_jitter(arrays["image"], jitter)}
    case.check("jitter_image", arrays["image"])
    normalised = Normalize(IMAGENET).apply(arrays)["image"]
    case.check("normalised", normalised.transpose(2, 0, 1))
    case.check("norm_infer", normalised[::2, ::2])
    restored = IMAGENET.invert(normalised.transpose(2, 0, 1)) / 255
    case.check("denormalised_s2", restored[:, ::2, ::2])
    hot = (np.arange(21)[:, None, None] == arrays["mask"]).astype(case.outputs["mask_one_hot_sum"].dtype)
    case.check("mask_one_hot_sum", hot.sum((1, 2)))
    case.check("mask_one_hot_total", hot.sum(0).astype(case.outputs["mask_one_hot_total"].dtype))
    assert case.checked == set(case.outputs)


@golden("onestage-crop-sampler-pinned")
def test_pinned_sampler(case: Case) -> None:
    a = case.arguments
    stream = random.Random(a["seed"])
    got = {}
    for width, height in case.inputs["sizes_wh"].tolist():
        rows = [
            rectangle_tv021(
                (height, width), tuple(a["scale"]), tuple(a["ratio"]), uniform=stream.uniform, integer=stream.randint
            )
            for _ in range(a["draws"])
        ]
        got[f"w{width}_h{height}"] = np.array(rows)
    case.check_all(got)


def test_smaller_and_larger_sides_are_placed_inside() -> None:
    rng, places = np.random.default_rng(0), set()
    for _ in range(300):
        box = Crop(5).draw(rng, (3, 8))
        assert (box.top, box.canvas_left, box.height, box.width) == (0, 0, 3, 5)
        places.add((box.canvas_top, box.left))
    assert places == {(t, left) for t in range(3) for left in range(4)}


def test_padding_is_zero_in_images_and_ignore_in_masks() -> None:
    arrays = {
        "image": np.ones((2, 3, 3), np.float32),
        "mask": np.ones((2, 3), np.uint8),
        "saliency": np.ones((2, 3), np.float32),
        "scores": np.ones((4, 2, 3), np.float32),
    }
    step = Crop(4, "corner", box=True)
    cut = step.apply(arrays, step.draw(np.random.default_rng(0), (2, 3)))
    assert cut["mask"].tolist() == [[1, 1, 1, 255], [1, 1, 1, 255], [255] * 4, [255] * 4]
    assert (cut["image"][..., 0] == (cut["mask"] == 1)).all() and (cut["saliency"] == (cut["mask"] == 1)).all()
    assert (cut["scores"] == (cut["mask"] == 1)).all() and cut["box"].tolist() == [0, 0, 3, 2]


def test_corner_crop_of_a_larger_image_is_random() -> None:
    rng = np.random.default_rng(0)
    assert {Crop(4, "corner").draw(rng, (6, 4)).top for _ in range(60)} == {0, 1, 2}


@pytest.mark.parametrize("sampler", ["tv021", "torchvision"])
def test_rectangles_lie_inside(sampler: str) -> None:
    rng = np.random.default_rng(0)
    for size in ((333, 500), (500, 333), (40, 40), (10, 300), (300, 10)):
        for _ in range(20):
            top, left, height, width = ResizedCrop(32, sampler=sampler).draw(rng, size)
            assert top >= 0 and left >= 0 and height > 0 and width > 0
            assert top + height <= size[0] and left + width <= size[1]


def test_later_torchvision_falls_back_to_the_largest_allowed_rectangle() -> None:
    rng = np.random.default_rng(0)
    got = rectangle_torchvision(
        (333, 500), (0.99, 1.0), (3 / 4, 4 / 3), uniform=rng.uniform, integer=lambda low, high: low
    )
    assert got == (0, 28, 333, 444)
