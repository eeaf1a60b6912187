"""RecurSeed's stored seeds to pseudo-masks, against its conversion script."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from golden_cases import Case, golden
from wsseg_rsepm.seeds import rebuilt_pixels, seed_mask

from wsseg_cli.data.palette import palette
from wsseg_cli.errors import DataError
from wsseg_cli.ops.crf import CrfParameters, add_power_background, crf_parameters, dense_crf, labels_of


@golden("rsepm-seed-to-mask")
def test_seeds(case: Case) -> None:
    given, a = case.arguments, case.inputs
    crf = crf_parameters(
        "deeplab",
        iterations=given["iter_max"],
        bilateral_weight=given["bi_w"],
        bilateral_sxy=given["bi_xy_std"],
        bilateral_srgb=given["bi_rgb_std"],
        gaussian_weight=given["pos_w"],
        gaussian_sxy=given["pos_xy_std"],
    )
    pixels = {name: rebuilt_pixels(a[f"image_{name}"]) for name in "abcd"}
    got: dict[str, Any] = {f"denormalised_{name}": pixels[name] for name in "ab"}
    for name in "abcd":
        seed = pixels[name], a[f"seed_{name}"], a[f"keys_{name}"]
        for gamma in given["bg_gamma"]:
            got[f"mask_gamma{gamma}_{name}"] = seed_mask(*seed, power=gamma, crf=crf)
        got[f"mask_bgth030_{name}"] = seed_mask(*seed, threshold=given["bg_th"], crf=crf)
        got[f"mask_argmax_bgth030_{name}"] = seed_mask(*seed, threshold=given["bg_th"], crf=None)
    for name in "abc":
        seed = pixels[name], a[f"ms_seed_{name}"], a[f"ms_keys_{name}"]
        got[f"ms_mask_{name}"] = seed_mask(*seed, power=None, crf=crf, lone_key_is_background=True)
    for name in "ab":
        scores = add_power_background(a[f"seed_{name}"], given["bg_gamma"][0])
        got[f"Q_gamma2_{name}"] = dense_crf(pixels[name], scores, crf)
    got["run_label_a"] = labels_of(
        dense_crf(pixels["a"], a["label_a"], label_crf(given["label_crf"]), labels=given["label_crf"]["num_classes"])
    )
    got["png_palette_rgb"] = palette()[: len(case.outputs["png_palette_rgb"])].astype(np.int64)
    case.check_all(got)


def label_crf(given: dict[str, Any]) -> CrfParameters:
    return crf_parameters(
        "irn",
        iterations=given["iter_max"],
        bilateral_weight=given["bi_w"],
        bilateral_sxy=given["bi_xy_std"],
        bilateral_srgb=given["bi_rgb_std"],
        gaussian_weight=given["pos_w"],
        gaussian_sxy=given["pos_xy_std"],
        certainty=given["gt_prob"],
    )


def test_a_lone_class_keeps_its_pixels_unless_as_published() -> None:
    seed = np.zeros((8, 9, 3), np.uint8), np.ones((1, 8, 9), np.float32), np.array([12])
    assert (seed_mask(*seed, power=None) == 12).all()
    assert (seed_mask(*seed, power=None, lone_key_is_background=True) == 0).all()


def test_rows_and_keys_that_do_not_fit() -> None:
    with pytest.raises(DataError, match="3 rows with its background, and 2 keys"):
        seed_mask(np.zeros((8, 9, 3), np.uint8), np.ones((2, 8, 9), np.float32), np.array([0, 4]))
