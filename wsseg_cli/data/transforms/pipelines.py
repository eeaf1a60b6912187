"""The published training pipelines as functions of the recipe's `augment`, each in its published order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ...settings import AugmentSettings
from ...types import IMAGENET, FloatArray, Normalization
from .colour import ColorJitter, HsvShift, Normalize
from .crop import Crop, ResizedCrop
from .scale import Flip, Rescale, ResizeLong
from .step import Arrays, Pipeline, Step, array_name


def classification_transform(
    augment: AugmentSettings,
    *,
    normalize: Normalization = IMAGENET,
    with_: Iterable[str] = (),
    box: bool = False,
) -> Pipeline:
    """Return the transform of classifier training: size, flip, colours, normalise, crop (PSA, SEAM, EPS, PPC, RS+EPM).

    augment: its `area` replaces size and crop by the single-stage model's resized crop. with_: maps to transform with
    the image, such as "saliency" or "mask". box: also return the place of the image in the crop, `box` (4,).
    """
    return Pipeline((*_shape_and_colour(augment, normalize), *_crop(augment, box)), frozenset(map(array_name, with_)))


def segmentation_transform(augment: AugmentSettings, *, normalize: Normalization = IMAGENET) -> Pipeline:
    """Return the transform for training on masks; mask pixels outside the image are 255.

    The codebases differ only in `augment`. deeplab-pytorch: scales, interpolation opencv_linear, placement corner (its
    flip follows the crop). semantic-segmentation-codebase: hsv, scale_range, interpolation opencv_cubic. RS+EPM and
    DHR: resize_long, color_jitter.
    """
    if augment.placement == "corner":
        # The flip follows the crop, so that padding also occurs on the left.
        late = Flip(augment.flip)
        early = augment.model_copy(update={"flip": 0.0})
        steps = (*_shape_and_colour(early, normalize), *_crop(augment, False), *((late,) if augment.flip else ()))
    else:
        steps = (*_shape_and_colour(augment, normalize), *_crop(augment, False))
    return Pipeline(steps, frozenset({"mask"}))


def affinity_transform(
    augment: AugmentSettings, *, normalize: Normalization = IMAGENET, pool: int = 8, box: bool = False
) -> Pipeline:
    """Return the transform of AffinityNet: colours, crop, normalise, flip, scores mean-pooled (PSA).

    The crop precedes normalisation, as published: padding is black, not the mean colour. pool: side of the cells; 1
    leaves scores and masks unchanged.
    """
    steps: list[Step] = [*_size(augment)]
    if augment.color_jitter is not None:
        steps.append(ColorJitter(*augment.color_jitter))
    steps += _crop(augment, box)
    steps.append(Normalize(normalize))
    if augment.flip:
        steps.append(Flip(augment.flip))
    if pool > 1:
        steps.append(PoolScores(pool))
    return Pipeline(tuple(steps), frozenset({"scores", "mask"}))


@dataclass(frozen=True)
class PoolScores:
    """Scores averaged over cells of `side` x `side` pixels; incomplete cells at the border are dropped."""

    side: int

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> None:
        """Return nothing: pooling is not random."""

    def apply(self, arrays: Arrays, drawn: None = None) -> Arrays:
        """Return the arrays with `scores` pooled."""
        if "scores" not in arrays:
            return arrays
        return {**arrays, "scores": average_pool(arrays["scores"], self.side)}


def average_pool(scores: FloatArray, side: int) -> FloatArray:
    """Return (K, H // side, W // side) means over square cells of scores (K, H, W)."""
    classes, height, width = scores.shape
    rows, columns = height // side, width // side
    cells = scores[:, : rows * side, : columns * side].reshape(classes, rows, side, columns, side)
    return cells.mean(axis=(2, 4), dtype=np.float32)


def _size(augment: AugmentSettings) -> list[Step]:
    if augment.crop is not None and augment.area is not None:
        return [ResizedCrop(augment.crop, augment.area, sampler=augment.area_sampler)]
    if augment.resize_long is not None:
        return [ResizeLong(*augment.resize_long)]
    if augment.scales or augment.scale_range is not None:
        return [Rescale(augment.scales, augment.scale_range, augment.interpolation, augment.opencv)]
    return []


def _shape_and_colour(augment: AugmentSettings, normalize: Normalization) -> list[Step]:
    flip: list[Step] = [Flip(augment.flip)] if augment.flip else []
    # Published order with a colour shift in HSV: shift and flip come before the scaling.
    if augment.hsv is not None:
        steps: list[Step] = [HsvShift(*augment.hsv, augment.opencv), *flip, *_size(augment)]
    else:
        steps = [*_size(augment), *flip]
    if augment.color_jitter is not None:
        steps.append(ColorJitter(*augment.color_jitter))
    return [*steps, Normalize(normalize)]


def _crop(augment: AugmentSettings, box: bool) -> list[Step]:
    if augment.crop is None or augment.area is not None:
        return []
    return [Crop(augment.crop, augment.placement, box)]
