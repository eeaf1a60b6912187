"""Scores to masks: the one place where the best class of a pixel becomes a mask value."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from ..settings import MaskCrfSettings
from ..types import IGNORE, ByteArray, ClassNames, FloatArray, ScoreMap, resize_scores
from .crf import dense_crf


def present_values(classes: npt.ArrayLike) -> ByteArray:
    """Return the mask values of the rows of `ScoreMap.full`: 0 for background, then those of `classes`, (1+K,) uint8.

    classes: (K,) foreground classes counted from 0.
    """
    return np.concatenate([[0], ClassNames.mask_value(np.asarray(classes, np.int64))]).astype(np.uint8)


def mask_from_scores(scores: npt.NDArray[Any], classes: npt.ArrayLike | None = None) -> ByteArray:
    """Return the (H, W) mask of the highest of (1+K, H, W) scores, background first; among equals the first row wins.

    classes: (K,) classes of the rows after the background, counted from 0; by default the rows are all classes.
    """
    best = np.asarray(scores).argmax(axis=0)
    return best.astype(np.uint8) if classes is None else present_values(classes)[best]


def mask_from_map(
    scores: ScoreMap,
    *,
    threshold: float | None = None,
    power: float | None = None,
    crf: MaskCrfSettings | None = None,
    image: ByteArray | None = None,
    device: str = "cpu",
    half: bool = False,
) -> ByteArray:
    """Return the (H, W) mask of a score map, after a dense CRF if one is given. A map without a class is background.

    threshold, power, half: the background score and the arithmetic, as in `ScoreMap.full`; by default the map's own.
    crf: with `image`, (H, W, 3) uint8 RGB, which it sees, the settings of the CRF.

    Raises:
        DataError: the map has no background of its own and none is given.
    """
    full = label_scores(scores, threshold=threshold, power=power, crf=crf, image=image, device=device, half=half)
    return mask_from_scores(full, scores.classes)


def label_scores(
    scores: ScoreMap,
    *,
    threshold: float | None = None,
    power: float | None = None,
    crf: MaskCrfSettings | None = None,
    image: ByteArray | None = None,
    device: str = "cpu",
    half: bool = False,
) -> npt.NDArray[Any]:
    """Return the (1+K, H, W) scores whose highest is a pixel's label, as `mask_from_map` compares them.

    With a CRF these are its marginals, which sum to one. A map without a class gives ones for the background.

    Raises:
        DataError: as `mask_from_map`.
    """
    if len(scores.classes) == 0:
        return np.ones((1, *scores.size), np.float32)
    full = scores.full(threshold, power=power, half=half)
    return full if crf is None or image is None else crf_marginals(image, full, crf, device)


def without_unsure(mask: ByteArray, scores: npt.NDArray[Any], confidence: float) -> ByteArray:
    """Return the (H, W) mask with 255 where the highest of its (1+K, H, W) scores lies below `confidence`."""
    return np.where(scores.max(axis=0) < confidence, np.uint8(IGNORE), mask)


def crf_scores(
    logits: npt.NDArray[Any], image: ByteArray, crf: MaskCrfSettings | None, device: str = "cpu"
) -> npt.NDArray[Any]:
    """Return a network's (1+C, H, W) logits as they are, or the dense CRF's marginals of their softmax.

    image: (H, W, 3) uint8 RGB of the same size, which the CRF sees.
    """
    if crf is None:
        return logits
    return crf_marginals(image, probabilities(logits), crf, device)


def probabilities(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the softmax of (1+C, H, W) logits over the classes."""
    scores = np.exp(logits - logits.max(axis=0, keepdims=True))
    scores /= scores.sum(axis=0, keepdims=True)
    return scores


def crf_marginals(image: ByteArray, scores: FloatArray, crf: MaskCrfSettings, device: str = "cpu") -> FloatArray:
    """Return the marginals of (L, H, W) scores under a stage's CRF, 0 for labels that stay below its `min_score`.

    image: (H, W, 3) uint8 RGB of the same size, which the CRF sees. Where all labels stay below, all enter.
    """
    enters = np.ones(len(scores), bool)
    if crf.min_score is not None:
        enters = scores.max(axis=(1, 2)) >= crf.min_score
        enters |= not enters.any()
    marginals = np.zeros(scores.shape, np.float32)
    marginals[enters] = dense_crf(image, scores[enters], crf, backend=crf.backend, device=device)
    return marginals


def mask_at_size(scores: FloatArray, size: tuple[int, int]) -> ByteArray:
    """Return the (H, W) mask of (1+C, h, w) scores resized to `size`, with one class in memory at a time."""
    if scores.shape[1:] == size:
        return mask_from_scores(scores)
    best = resize_scores(scores[:1], size)[0]
    mask = np.zeros(size, np.uint8)
    for value in range(1, len(scores)):
        here = resize_scores(scores[value : value + 1], size)[0]
        higher = here > best
        best[higher], mask[higher] = here[higher], value
    return mask
