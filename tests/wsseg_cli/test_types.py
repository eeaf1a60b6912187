from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from wsseg_cli.errors import DataError
from wsseg_cli.types import IMAGENET, ClassNames, Normalization, ScoreMap, resize_scores


@pytest.mark.parametrize("size", [(5, 7), (40, 56), (9, 3), (1, 1)])
def test_resize_is_torchs_bilinear(size: tuple[int, int]) -> None:
    scores = np.random.default_rng(0).random((3, 10, 14), dtype=np.float32)
    want = F.interpolate(torch.from_numpy(scores)[None], size, mode="bilinear", align_corners=False)[0].numpy()
    np.testing.assert_allclose(resize_scores(scores, size), want, atol=2e-6)


def test_full_puts_background_first() -> None:
    scores = np.array([[[0.2, 0.9]], [[0.5, 0.1]]], np.float32)
    score_map = ScoreMap("a", np.array([1, 4]), scores, (1, 2))
    np.testing.assert_allclose(score_map.full(0.3)[0], 0.3)
    np.testing.assert_allclose(score_map.full(power=2)[0], [[0.25, 0.01]], atol=1e-6)
    with pytest.raises(DataError, match="no background of its own"):
        score_map.full()


def test_full_without_a_class() -> None:
    score_map = ScoreMap("a", np.zeros(0, np.int64), np.zeros((0, 2, 2), np.float32), (4, 4))
    assert score_map.full(0.3).shape == (1, 4, 4)
    assert (score_map.full(power=4) == 1).all()


def test_class_names() -> None:
    classes = ClassNames(["cat", "dog"])
    assert classes.label("dog") == 1 and classes.mask_value(1) == 2
    assert classes.labels_in(np.array([[0, 2, 255]])) == (1,)
    with pytest.raises(DataError, match="did you mean 'dog'"):
        classes.label("dogs")
    with pytest.raises(DataError, match="occur twice: cat"):
        ClassNames(["cat", "cat"])
    with pytest.raises(DataError, match="at most 254"):
        ClassNames(map(str, range(255)))


@pytest.mark.parametrize("normalization", [IMAGENET, Normalization((104.0, 116.7, 122.7), (1, 1, 1), 1.0, "BGR")])
def test_invert_undoes_apply(normalization: Normalization) -> None:
    image = np.random.default_rng(1).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    tensor = torch.from_numpy(normalization.apply(image).transpose(2, 0, 1).copy())
    np.testing.assert_allclose(normalization.invert(tensor).permute(1, 2, 0).numpy(), image, atol=1e-3)
