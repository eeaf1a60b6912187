"""Sizes and resampling."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from golden_cases import Case, golden

from wsseg_cli.ops.resize import (
    long_side_size,
    nearest_resize,
    opencv_resize,
    pillow_resize,
    scaled_size,
    strided_size,
)


@golden("msf_sizes")
def test_sizes(case: Case) -> None:
    views, long, features = [], [], []
    for w, h, scale in case.outputs["msf_w_h_s_W_H"][:, :3].tolist():
        height, width = scaled_size((int(h), int(w)), scale)
        views.append([w, h, scale, width, height])
    for w, h, target in case.outputs["resize_long_w_h_t_W_H"][:, :3].tolist():
        height, width = long_side_size((h, w), target)
        long.append([w, h, target, width, height])
    for side in case.outputs["L_scale0.3_stride8"][:, 0].tolist():
        features.append([side, scaled_size((side, side), 0.3, "floor")[0], strided_size((side, side), 8)[0]])
    sizes = {(w, h) for w, h, *_ in views}
    assert sizes == {tuple(map(float, row)) for row in case.inputs["sizes_wh"].tolist()}
    case.check_all(
        {
            "msf_w_h_s_W_H": np.array(views),
            "resize_long_w_h_t_W_H": np.array(long),
            "L_scale0.3_stride8": np.array(features),
        }
    )


def test_cubic_and_linear_are_those_of_torch() -> None:
    """OpenCV's kernels and torch's are the same where the factor is the ratio of the sizes."""
    image = np.random.default_rng(0).standard_normal((13, 17, 3)).astype("float32")
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    for ours, theirs in (("cubic", "bicubic"), ("linear", "bilinear")):
        want = F.interpolate(tensor, size=(20, 9), mode=theirs, align_corners=False)[0].permute(1, 2, 0)
        assert np.abs(opencv_resize(image, (20, 9), ours) - want.numpy()).max() < 1e-5


def test_uint8_cubic_is_clipped() -> None:
    image = np.zeros((8, 8), np.uint8)
    image[:, 4:] = 255
    resized = opencv_resize(image, (16, 16), "cubic")
    assert resized.dtype == np.uint8 and set(resized[:, [0, -1]].ravel()) == {0, 255}


def test_two_nearest_rules_differ() -> None:
    row = np.arange(8, dtype=np.uint8)[None]
    assert nearest_resize(row, (1, 4)).tolist() == [[0, 2, 4, 6]]
    assert pillow_resize(row, (1, 4), "nearest").tolist() == [[1, 3, 5, 7]]


def test_tiny_images_keep_a_pixel() -> None:
    assert scaled_size((1, 1), 0.3) == (1, 1) and long_side_size((1, 1000), 100) == (1, 100)
