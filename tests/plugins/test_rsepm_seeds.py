"""RecurSeed's stored seeds to pseudo-masks, against its conversion script, through what the stage `pseudo` calls."""

from __future__ import annotations

from typing import Any

import numpy as np
from golden_cases import Case, golden

from wsseg_cli.data.palette import palette
from wsseg_cli.ops.crf import CrfParameters, crf_parameters, dense_crf, labels_of
from wsseg_cli.ops.crf_pixels import restored_pixels
from wsseg_cli.ops.masks import crf_marginals
from wsseg_cli.recipe.background import BackgroundSettings
from wsseg_cli.recipe.sections import PseudoSettings
from wsseg_cli.settings import MaskCrfSettings
from wsseg_cli.stages.pseudo import pseudo_mask
from wsseg_cli.types import IMAGENET, FloatArray, IntArray, ScoreMap


@golden("rsepm-seed-to-mask")
def test_seeds(case: Case) -> None:
    given, a = case.arguments, case.inputs
    crf = MaskCrfSettings(preset="deeplab", **kernels(given))
    names = sorted(name.removeprefix("image_") for name in a if name.startswith("image_"))
    pixels = {name: restored_pixels(a[f"image_{name}"], IMAGENET, "float64") for name in names}
    maps = {name: score_map(a[f"seed_{name}"], a[f"keys_{name}"], pixels[name]) for name in names}
    threshold = BackgroundSettings(threshold=given["bg_th"])
    got: dict[str, Any] = {f"denormalised_{name}": pixels[name] for name in names}
    for name, scores in maps.items():
        for gamma in given["bg_gamma"]:
            section = PseudoSettings(background=BackgroundSettings(power=gamma), crf=crf)
            got[f"mask_gamma{gamma}_{name}"] = pseudo_mask(scores, section, pixels[name])
            if len(scores.classes):
                got[f"Q_gamma{gamma}_{name}"] = crf_marginals(pixels[name], scores.full(power=gamma), crf)
        with_crf, without = (PseudoSettings(background=threshold, crf=c) for c in (crf, None))
        word = f"{round(100 * given['bg_th']):03d}"
        got[f"mask_bgth{word}_{name}"] = pseudo_mask(scores, with_crf, pixels[name])
        got[f"mask_argmax_bgth{word}_{name}"] = pseudo_mask(scores, without)
        if f"ms_seed_{name}" in a:
            got[f"ms_mask_{name}"] = mask_of_rows(a[f"ms_seed_{name}"], a[f"ms_keys_{name}"], pixels[name], crf)
    first, label = names[0], given["label_crf"]
    parameters = crf_parameters("irn", certainty=label["gt_prob"], **kernels(label))
    got[f"run_label_{first}"] = labels_of(
        dense_crf(pixels[first], a[f"label_{first}"], parameters, labels=label["num_classes"])
    )
    got["png_palette_rgb"] = palette()[: len(case.outputs["png_palette_rgb"])].astype(np.int64)
    case.check_all(got)


def kernels(given: dict[str, Any]) -> dict[str, Any]:
    return {
        "iterations": given["iter_max"],
        "bilateral_weight": float(given["bi_w"]),
        "bilateral_sxy": float(given["bi_xy_std"]),
        "bilateral_srgb": float(given["bi_rgb_std"]),
        "gaussian_weight": float(given["pos_w"]),
        "gaussian_sxy": float(given["pos_xy_std"]),
    }


def score_map(seed: FloatArray, keys: IntArray, pixels: np.ndarray) -> ScoreMap:
    """Return a stored seed (K, h, w) with its keys, 0 first, as a score map."""
    return ScoreMap("", keys[1:].astype(np.int64) - 1, seed, pixels.shape[:2])


def mask_of_rows(
    rows: FloatArray, keys: IntArray, pixels: np.ndarray, crf: MaskCrfSettings | CrfParameters
) -> np.ndarray:
    """Return the published mask of rows that bring their own background; a single key means background (a quirk)."""
    if len(keys) == 1:
        return np.zeros(pixels.shape[:2], np.uint8)
    return np.asarray(keys)[labels_of(dense_crf(pixels, rows, crf))].astype(np.uint8)
