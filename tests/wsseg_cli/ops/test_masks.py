"""A score becomes a mask value in one place."""

from __future__ import annotations

import numpy as np
import pytest

from wsseg_cli.errors import DataError
from wsseg_cli.ops.crf import dense_crf
from wsseg_cli.ops.masks import crf_marginals, crf_scores, mask_at_size, mask_from_map, mask_from_scores, present_values
from wsseg_cli.settings import MaskCrfSettings
from wsseg_cli.types import ScoreMap, resize_scores

CLASSES = np.array([1, 4])


def score_map(background: float | None = None) -> ScoreMap:
    scores = np.array([[[0.9, 0.2]], [[0.1, 0.3]]], np.float32)
    own = None if background is None else np.full((1, 2), background, np.float32)
    return ScoreMap("a", CLASSES, scores, (1, 2), own)


def test_rows_are_background_then_the_classes_one_higher() -> None:
    assert present_values(CLASSES).tolist() == [0, 2, 5]
    assert present_values([]).tolist() == [0]
    assert present_values(CLASSES).dtype == np.uint8


def test_the_first_of_equal_scores_wins() -> None:
    scores = np.array([[[0.5, 0.1]], [[0.5, 0.7]], [[0.2, 0.7]]], np.float32)
    assert mask_from_scores(scores).tolist() == [[0, 1]]
    assert mask_from_scores(scores, CLASSES).tolist() == [[0, 2]]


def test_background_by_threshold_power_or_of_its_own() -> None:
    assert mask_from_map(score_map(), threshold=0.25).tolist() == [[2, 5]]
    assert mask_from_map(score_map(), threshold=0.35).tolist() == [[2, 0]]
    assert mask_from_map(score_map(), power=1.0).tolist() == [[2, 0]]
    assert mask_from_map(score_map(background=0.95)).tolist() == [[0, 0]]
    with pytest.raises(DataError, match="no background of its own"):
        mask_from_map(score_map())


def test_without_a_class_all_is_background() -> None:
    empty = ScoreMap("a", np.zeros(0, np.int64), np.zeros((0, 2, 2), np.float32), (3, 5))
    mask = mask_from_map(empty)
    assert mask.shape == (3, 5) and mask.dtype == np.uint8 and not mask.any()


def test_the_crf_comes_before_the_best_class() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 16, 3), np.uint8)
    scores = ScoreMap("a", CLASSES, rng.random((2, 12, 16), np.float32), (12, 16))
    crf = MaskCrfSettings(preset="psa")
    expected = dense_crf(image, scores.full(0.4), crf)
    np.testing.assert_array_equal(
        mask_from_map(scores, threshold=0.4, crf=crf, image=image), present_values(CLASSES)[expected.argmax(0)]
    )


def test_labels_that_are_nowhere_likely_do_not_enter_the_crf() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (12, 16, 3), np.uint8)
    scores = rng.random((3, 12, 16), np.float32)
    scores[1] = 0.04
    got = crf_marginals(image, scores, MaskCrfSettings(preset="deeplab", min_score=0.05))
    assert not got[1].any()
    np.testing.assert_array_equal(got[[0, 2]], dense_crf(image, scores[[0, 2]], "deeplab"))
    everywhere_low = crf_marginals(image, scores / 100, MaskCrfSettings(preset="deeplab", min_score=0.05))
    np.testing.assert_array_equal(everywhere_low, dense_crf(image, scores / 100, "deeplab"))


def test_logits_meet_the_crf_as_probabilities() -> None:
    rng = np.random.default_rng(1)
    image, logits = rng.integers(0, 256, (10, 9, 3), np.uint8), rng.normal(size=(3, 10, 9)).astype(np.float32)
    assert crf_scores(logits, image, None) is logits
    crf = MaskCrfSettings(preset="psa")
    softmax = np.exp(logits) / np.exp(logits).sum(0)
    np.testing.assert_allclose(crf_scores(logits, image, crf), dense_crf(image, softmax, crf), atol=1e-4)


def test_one_class_at_a_time_gives_the_same_mask() -> None:
    scores = np.random.default_rng(2).random((4, 5, 7), np.float32)
    expected = resize_scores(scores, (20, 31)).argmax(0)
    np.testing.assert_array_equal(mask_at_size(scores, (20, 31)), expected)
    np.testing.assert_array_equal(mask_at_size(scores, (5, 7)), scores.argmax(0))
