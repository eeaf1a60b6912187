"""From scores to masks: the one place where the best class of a pixel becomes a mask value."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..settings import MaskCrfSettings
from ..types import ByteArray, ClassNames, FloatArray, ScoreMap, resize_scores
from .crf import dense_crf
from .resize import pillow_resize, shrunk_size, strips


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

    threshold, power, half: the background score and the arithmetic, as in `full_scores`; by default the map's own.
    crf: the settings of the CRF, given together with the `image`, (H, W, 3) uint8 RGB, that it sees.

    Raises:
        DataError: the map has no background of its own and none is given.
    """
    return mask_and_marginals(scores, threshold=threshold, power=power, crf=crf, image=image, device=device, half=half)[
        0
    ]


def mask_and_marginals(
    scores: ScoreMap,
    *,
    threshold: float | None = None,
    power: float | None = None,
    crf: MaskCrfSettings | None = None,
    image: ByteArray | None = None,
    device: str = "cpu",
    half: bool = False,
) -> tuple[ByteArray, FloatArray | None]:
    """Return the mask as `mask_from_map` does, and the CRF's marginals, (1+K, h, w); None if no CRF was asked for."""
    if len(scores.classes) == 0:
        return np.zeros(scores.size, np.uint8), None
    if crf is None or image is None:
        parts = (full_scores(scores, threshold, power, half, rows) for rows in strips(scores.size))
        return np.concatenate([mask_from_scores(part, scores.classes) for part in parts]), None
    small = replace(scores, size=shrunk_size(scores.size, crf.longest))
    marginals = crf_marginals(image, full_scores(small, threshold, power, half), crf, device)
    return mask_at_size(marginals, scores.size, scores.classes), marginals


def full_scores(
    scores: ScoreMap, threshold: float | None, power: float | None, half: bool, rows: slice = slice(None)
) -> npt.NDArray[Any]:
    """Return `ScoreMap.full` of a map with classes, (1+K, H, W) float32.

    half: the resized scores are rounded to float16, in which the background is computed and all are returned: the
    arithmetic of codes that continue from stored maps.
    """
    full = scores.full(threshold, power=power, rows=rows)
    if half:
        full = full.astype(np.float16)
        if power is not None:
            full[0] = np.power(np.float16(1) - full[1:].max(axis=0), np.float16(power), dtype=np.float16)
    return full


def shares(scores: npt.NDArray[Any]) -> FloatArray:
    """Return (L, H, W) scores as shares of their sum at each pixel, float32; equal ones where all scores are 0."""
    scores = np.asarray(scores, np.float32)
    total = scores.sum(axis=0)
    return np.divide(scores, total, out=np.full(scores.shape, 1 / len(scores), np.float32), where=total > 0)


def confidence_of(
    scores: ScoreMap, marginals: FloatArray | None, *, threshold: float | None, power: float | None, half: bool = False
) -> FloatArray:
    """Return how sure the best class of each pixel is, (H, W) float32 in [0, 1].

    marginals: the CRF's, (1+K, h, w), of which the highest are resized; None: the share of the highest score among all,
    background included (threshold, power, half: as in `full_scores`). 1 for a map without a class: nothing competed.
    """
    if len(scores.classes) == 0:
        return np.ones(scores.size, np.float32)
    if marginals is not None:
        return resize_scores(marginals.max(axis=0)[None], scores.size)[0]
    parts = (shares(full_scores(scores, threshold, power, half, rows)).max(axis=0) for rows in strips(scores.size))
    return np.concatenate(list(parts))


def grey_levels(confidence: FloatArray) -> ByteArray:
    """Return a confidence in [0, 1] as levels of 0 to 255, uint8."""
    return np.round(np.clip(confidence, 0, 1) * 255).astype(np.uint8)


def crf_scores(
    logits: npt.NDArray[Any], image: ByteArray, crf: MaskCrfSettings | None, device: str = "cpu"
) -> npt.NDArray[Any]:
    """Return a network's (1+C, H, W) logits as they are, or the dense CRF's marginals of their softmax.

    image: (H, W, 3) uint8 RGB of the same size, which the CRF sees. Marginals have the size that `crf.longest` leaves.
    """
    if crf is None:
        return logits
    size = shrunk_size((int(image.shape[0]), int(image.shape[1])), crf.longest)
    return crf_marginals(image, resize_scores(probabilities(logits), size), crf, device)


def probabilities(logits: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Return the softmax of (1+C, H, W) logits over the classes."""
    scores = np.exp(logits - logits.max(axis=0, keepdims=True))
    scores /= scores.sum(axis=0, keepdims=True)
    return scores


def crf_marginals(image: ByteArray, scores: FloatArray, crf: MaskCrfSettings, device: str = "cpu") -> FloatArray:
    """Return the marginals of (L, h, w) scores under a stage's CRF, 0 for labels that stay below its `min_score`.

    image: (H, W, 3) uint8 RGB, which the CRF sees at the size of the scores. If all labels stay below it, all enter.
    """
    seen = pillow_resize(image, (int(scores.shape[1]), int(scores.shape[2])))
    enters = np.ones(len(scores), bool)
    if crf.min_score is not None:
        enters = scores.max(axis=(1, 2)) >= crf.min_score
        enters |= not enters.any()
    marginals = np.zeros(scores.shape, np.float32)
    marginals[enters] = dense_crf(seen, scores[enters], crf, backend=crf.backend, device=device)
    return marginals


def mask_at_size(scores: npt.NDArray[Any], size: tuple[int, int], classes: npt.ArrayLike | None = None) -> ByteArray:
    """Return the (H, W) mask of (1+K, h, w) scores resized to `size`, with one strip in memory at a time.

    classes: as in `mask_from_scores`.
    """
    if scores.shape[1:] == tuple(size):
        return mask_from_scores(scores, classes)
    return np.concatenate([mask_from_scores(resize_scores(scores, size, rows), classes) for rows in strips(size)])
