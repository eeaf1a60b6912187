"""The published pipelines: order of their steps, what comes out, and that all randomness is the generator's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from wsseg_cli.data.transforms import (
    affinity_transform,
    classification_transform,
    segmentation_transform,
)
from wsseg_cli.settings import AugmentSettings
from wsseg_cli.types import IMAGENET

JITTER = (0.3, 0.3, 0.3, 0.1)


def sample(height: int = 60, width: int = 80) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {
        "image": rng.integers(0, 256, (height, width, 3), dtype=np.uint8),
        "mask": rng.integers(0, 3, (height, width), dtype=np.uint8),
        "saliency": rng.integers(0, 256, (height, width), dtype=np.uint8),
        "scores": rng.random((4, height, width), dtype=np.float32),
        "label": np.array([1, 0, 1], np.float32),
        "target/round": {"sub": np.arange(3)},
    }


def names(transform: Any) -> list[str]:
    return [type(step).__name__ for step in transform.steps]


def test_order_of_classification() -> None:
    augment = AugmentSettings(resize_long=(48, 64), flip=0.5, color_jitter=JITTER, crop=56)
    assert names(classification_transform(augment)) == ["ResizeLong", "Flip", "ColorJitter", "Normalize", "Crop"]
    single = AugmentSettings(area=(0.9, 1.0), flip=0.5, color_jitter=JITTER, crop=56)
    assert names(classification_transform(single)) == ["ResizedCrop", "Flip", "ColorJitter", "Normalize"]
    assert names(classification_transform(AugmentSettings())) == ["Normalize"]


def test_order_of_segmentation() -> None:
    weak = AugmentSettings(hsv=(10, 10, 10), flip=0.5, scale_range=(0.5, 1.5), crop=56, interpolation="opencv_cubic")
    assert names(segmentation_transform(weak)) == ["HsvShift", "Flip", "Rescale", "Normalize", "Crop"]
    caffe = AugmentSettings(scales=(0.5, 1.0), flip=0.5, crop=56, interpolation="opencv_linear", placement="corner")
    assert names(segmentation_transform(caffe)) == ["Rescale", "Normalize", "Crop", "Flip"]


def test_affinity_pads_with_black_before_normalising() -> None:
    transform = affinity_transform(AugmentSettings(color_jitter=JITTER, crop=96, flip=0.5))
    assert names(transform) == ["ColorJitter", "Crop", "Normalize", "Flip", "PoolScores"]
    tensors = transform(sample(), np.random.default_rng(3))
    assert tensors["image"].shape == (3, 96, 96) and tensors["scores"].shape == (4, 12, 12)
    black = torch.tensor([-m / s for m, s in zip(IMAGENET.mean, IMAGENET.std, strict=True)])
    corners = tensors["image"][:, [0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners - black[:, None]).abs().amax(0).min() < 1e-5


def test_tensors_of_a_sample() -> None:
    augment = AugmentSettings(resize_long=(48, 64), flip=0.5, color_jitter=JITTER, crop=56)
    tensors = classification_transform(augment, with_=("saliency",), box=True)(sample(), np.random.default_rng(0))
    assert set(tensors) == {"image", "saliency", "label", "target/round", "box"}
    assert tensors["image"].shape == (3, 56, 56) and tensors["image"].dtype == torch.float32
    assert tensors["saliency"].shape == (1, 56, 56) and 0 <= tensors["saliency"].min() <= tensors["saliency"].max() <= 1
    assert tensors["label"].tolist() == [1, 0, 1] and tensors["box"].dtype == torch.int64


@pytest.mark.parametrize(
    "make",
    [
        lambda a: classification_transform(a, with_=("saliency",)),
        segmentation_transform,
        lambda a: affinity_transform(a),
    ],
)
def test_same_generator_same_sample(make: Callable[[AugmentSettings], Any]) -> None:
    augment = AugmentSettings(scale_range=(0.5, 1.5), flip=0.5, color_jitter=JITTER, crop=56)
    transform, given = make(augment), sample()
    first, again, other = (transform(given, np.random.default_rng([0, epoch, 5])) for epoch in (1, 1, 2))
    spatial = [name for name in first if name in ("image", "mask", "saliency", "scores")]
    assert all(torch.equal(first[name], again[name]) for name in spatial)
    assert not torch.equal(first["image"], other["image"])
    assert all((given[name] == value).all() for name, value in sample().items() if name in spatial)


def test_masks_stay_whole_numbers_and_pad_with_ignore() -> None:
    augment = AugmentSettings(scales=(0.5,), crop=64)
    mask = segmentation_transform(augment)(sample(), np.random.default_rng(0))["mask"]
    assert mask.dtype == torch.int64 and set(mask.unique().tolist()) == {0, 1, 2, 255}
    assert (mask != 255).sum() == 30 * 40


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"resize_long": (512, 256)}, "resize_long: the first of"),
        ({"resize_long": (256, 512), "scales": (1.0,)}, "give one of resize_long, scales"),
        ({"area": (0.9, 1.0)}, "area needs crop"),
        ({"color_jitter": (0.3, 0.3, 0.3, 0.6)}, "less than or equal to 0.5"),
        ({"scales": (0.0,)}, "greater than 0"),
    ],
)
def test_augmentation_that_cannot_be_is_refused(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AugmentSettings(**words)
