"""The pixels that published codes show their CRF: also compared by golden cases (rsepm-transforms, pipeline_*)."""

from __future__ import annotations

import numpy as np

from wsseg_cli.ops.crf_pixels import restored_pixels
from wsseg_cli.types import IMAGENET, Normalization

GREYS = np.repeat(np.arange(256, dtype=np.uint8)[:, None, None], 3, axis=2)
CAFFE = Normalization((104.008, 116.669, 122.675), (1.0, 1.0, 1.0), scale=1.0, order="BGR")


def test_restored_levels_are_right_or_one_too_low() -> None:
    for rule, lower in (("float64", [174, 53, 23]), ("float32", [62, 39, 36])):
        below = GREYS.astype(int) - restored_pixels(GREYS, IMAGENET, rule)
        assert set(below.ravel().tolist()) == {0, 1}
        assert below.sum((0, 1)).tolist() == lower


def test_channels_of_a_network_that_sees_bgr_come_back_in_order() -> None:
    image = np.array([[[200, 100, 50]]], np.uint8)
    assert np.abs(restored_pixels(image, CAFFE, "float64").astype(int) - image).max() <= 1


def test_mean_subtracted_values_wrap() -> None:
    image = np.array([[[122, 120, 104]]], np.uint8)  # B 104 - 104.008, G 120 - 116.669, R 122 - 122.675
    assert restored_pixels(image, CAFFE, "mean_subtracted").tolist() == [[[0, 3, 0]]]
    assert restored_pixels(image - 20, CAFFE, "mean_subtracted")[0, 0, 0] == 256 - 20
