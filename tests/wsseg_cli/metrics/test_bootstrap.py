"""The interval of a threshold that was chosen on few images."""

from __future__ import annotations

import numpy as np

from wsseg_cli.metrics import ThresholdCurve, threshold_range
from wsseg_cli.metrics.bootstrap import _best, _by_threshold, spread_of_best

THRESHOLDS = threshold_range(0.0, 1.0, 0.1)


def curve_of(*levels: float) -> ThresholdCurve:
    """Return the curve of images half object, half background that scores as much as `levels`, an image each."""
    curve = ThresholdCurve(THRESHOLDS, 2)
    for level in levels:
        mask = np.array([[0, 0, 1, 1]], np.uint8)
        curve.add(mask, [0], np.array([[[level, level, 1.0, 1.0]]], np.float32))
    return curve


def test_equal_images_leave_no_doubt() -> None:
    spread = spread_of_best([curve_of(0.35)] * 5)
    assert spread is not None and spread.threshold == (0.4, 0.4) and spread.mean_iou == (1.0, 1.0)


def test_images_that_disagree_widen_it_and_the_seed_is_fixed() -> None:
    levels = (0.15, 0.25, 0.45, 0.75, 0.75)
    spread = spread_of_best([curve_of(level) for level in levels])
    assert spread is not None and spread == spread_of_best([curve_of(level) for level in levels])
    assert spread.threshold[0] < 0.8 == spread.threshold[1]
    many = spread_of_best([curve_of(level) for level in levels * 8])
    assert many is not None and many.threshold == (0.8, 0.8)


def test_a_draw_is_the_curve_of_the_images_drawn() -> None:
    curves = [curve_of(0.2), curve_of(0.5), curve_of(0.9, 0.1)]
    times = np.array([2, 0, 1])
    hits, union = (np.stack([_by_threshold(curve, name) for curve in curves]) for name in ("hits", "union"))
    place, value = _best(np.tensordot(times, hits, 1), np.tensordot(times, union, 1))
    whole = curve_of(0.2, 0.2, 0.9, 0.1).best()
    assert (whole.threshold, whole.mean_iou) == (THRESHOLDS[int(place)], value)


def test_of_one_image_nothing_can_be_drawn() -> None:
    assert spread_of_best([curve_of(0.3)]) is None
