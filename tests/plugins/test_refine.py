"""The refiners that learn nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from wsseg_refine.crf import CRF
from wsseg_refine.pamr import PAMR

from wsseg_cli.errors import DataError
from wsseg_cli.ops.crf import dense_crf, labels_of
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ClassNames, ScoreMap

CLASSES = ClassNames(["cat", "dog", "sofa"])
SIZE = (24, 32)


def photo() -> np.ndarray:
    image = np.full((*SIZE, 3), 40, np.uint8)
    image[6:18, 8:24] = 200
    return image


def coarse(background: bool = False, classes: tuple[int, ...] = (0, 2), size: tuple[int, int] = (12, 16)) -> ScoreMap:
    scores = np.full((len(classes), *size), 0.1, np.float32)
    scores[:1, 4:8, 5:10] = 0.9
    own = np.full(size, 0.3, np.float32) if background else None
    return ScoreMap("a", np.array(classes, np.int64), scores, SIZE, own)


def refine(kind: Any, scores: ScoreMap, labels: tuple[int, ...] | None = None, **options: Any) -> ScoreMap:
    return kind(kind.Options(**options), CLASSES).refine(None, photo(), labels, scores, InferSettings())


@pytest.mark.parametrize(("kind", "options"), [(CRF, {"threshold": 0.3}), (CRF, {"power": 4.0}), (PAMR, {})])
def test_scores_follow_the_edges(kind: Any, options: dict[str, Any]) -> None:
    refined = refine(kind, coarse(), **options)
    assert refined.scores.shape == (2, *SIZE) and refined.classes.tolist() == [0, 2]
    assert refined.scores.min() >= 0 and refined.scores.max() <= 1 + 1e-5
    cat = refined.scores[0]
    assert cat[12, 16] > 2 * cat[1, 1]
    assert cat[7:17, 9].mean() > 1.5 * cat[7:17, 5].mean()  # either side of the left edge


def test_crf_gives_marginals_and_their_background() -> None:
    refined = refine(CRF, coarse(), threshold=0.3, crf="psa")
    want = dense_crf(photo(), coarse().full(0.3), "psa")
    np.testing.assert_array_equal(refined.scores, want[1:])
    np.testing.assert_array_equal(refined.background, want[0])


def test_hard_labels_among_all_classes_or_the_present() -> None:
    hard = labels_of(coarse().full(0.3))
    every = refine(CRF, coarse(), threshold=0.3, crf="ppc", count="all")
    want = dense_crf(photo(), np.array([0, 1, 3])[hard], "ppc", labels=4)
    np.testing.assert_array_equal(every.scores, want[[1, 3]])
    present = refine(CRF, coarse(), threshold=0.3, crf="ppc")
    np.testing.assert_array_equal(present.scores, dense_crf(photo(), hard, "ppc", labels=3)[1:])


@pytest.mark.parametrize(("kind", "options"), [(CRF, {"threshold": 0.3}), (PAMR, {"stride": 4})])
def test_classes_are_those_of_the_labels(kind: Any, options: dict[str, Any]) -> None:
    assert refine(kind, coarse(), labels=(2,), **options).classes.tolist() == [2]
    empty = refine(kind, coarse(), labels=(), **options)
    assert len(empty.classes) == 0 and len(empty.scores) == 0


def test_image_without_a_class_is_background() -> None:
    refined = refine(CRF, coarse(classes=()), threshold=0.3)
    assert refined.background is not None and (refined.background == 1).all() and refined.background.shape == SIZE


def test_own_background_is_used_and_refined() -> None:
    assert refine(CRF, coarse(background=True)).background.shape == SIZE  # type: ignore[union-attr]
    assert refine(PAMR, coarse(background=True), stride=4).background.shape == (6, 8)  # type: ignore[union-attr]
    with pytest.raises(DataError, match="no background of its own"):
        refine(CRF, coarse())


def test_options_that_cannot_be() -> None:
    with pytest.raises(ValidationError, match="one of power and threshold"):
        CRF.Options(power=4.0, threshold=0.3)
    with pytest.raises(ValidationError, match="unknown CRF preset 'psi'"):
        CRF.Options(crf="psi")
    with pytest.raises(ValidationError):
        PAMR.Options(dilations=(0,))


@pytest.mark.parametrize(("kind", "options"), [(CRF, {"threshold": 0.3}), (PAMR, {})])
def test_map_of_another_size(kind: Any, options: dict[str, Any]) -> None:
    scores = ScoreMap("a", np.array([0]), np.zeros((1, 9, 9), np.float32), (9, 9))
    with pytest.raises(DataError, match="9 x 9 pixels, the image has 24 x 32"):
        refine(kind, scores, **options)
