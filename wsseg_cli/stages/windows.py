"""A network's mask of an image: at once, shrunk, or window by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from ..data.strips import Pixels
from ..ops.masks import crf_scores, grey_levels, mask_at_size, mask_from_scores, probabilities
from ..ops.resize import shrunk, strips
from ..ops.windows import Span, blended
from ..plugin.protocols import Predictor
from ..recipe.evaluating import EvalSettings
from ..settings import InferSettings
from ..types import ByteArray, FloatArray, resize_scores
from .plugins import at_inference, crf_image


def network_mask(
    predictor: Predictor[Any, Any],
    model: nn.Module,
    section: EvalSettings,
    pixels: Pixels,
    longest: int | None,
    device: str,
) -> tuple[ByteArray, tuple[int, int]]:
    """Return the (H, W) mask of a photo and the size (h, w) at which the network saw it.

    A photo larger than `longest` is shrunk first; one that is then larger than `infer.tile` is processed in windows.
    """
    return mask_and_confidence(predictor, model, section, pixels, longest, device)[:2]


def mask_and_confidence(
    predictor: Predictor[Any, Any],
    model: nn.Module,
    section: EvalSettings,
    pixels: Pixels,
    longest: int | None,
    device: str,
    *,
    confidence: bool = False,
) -> tuple[ByteArray, tuple[int, int], ByteArray | None]:
    """Return what `network_mask` does and, if asked, (H, W) levels of 0 to 255 for the probability of a pixel's class.

    It is the highest of the network's softmax or, with a CRF, of the marginals.
    """
    infer, crf = section.infer, section.crf
    smaller = longest is not None and max(pixels.size) > longest
    seen = Pixels.of(shrunk(pixels.whole(), longest)) if smaller else pixels
    if in_windows(infer, seen.size) and crf is None and not smaller:
        sure = np.zeros(pixels.size, np.uint8) if confidence else None
        return mask_in_windows(predictor, model, infer, pixels, sure, device), seen.size, sure
    if in_windows(infer, seen.size):
        logits = logits_in_windows(predictor, model, infer, seen, device)
    else:
        with at_inference(predictor, infer.precision, device):
            logits = predictor.logits(model, seen.whole(), infer)
    scores = logits if crf is None else crf_scores(logits, crf_image(crf, predictor, seen.whole()), crf, device)
    mask = mask_at_size(scores, pixels.size)
    if not confidence:
        return mask, seen.size, None
    highest = (probabilities(scores) if crf is None else scores).max(axis=0)[None]
    parts = [grey_levels(resize_scores(highest, pixels.size, rows)[0]) for rows in strips(pixels.size)]
    return mask, seen.size, np.concatenate(parts)


def in_windows(infer: InferSettings, size: tuple[int, int]) -> bool:
    """Return whether a (H, W) image is processed in windows."""
    return infer.tile is not None and max(size) > infer.tile


def mask_in_windows(
    predictor: Predictor[Any, Any],
    model: nn.Module,
    infer: InferSettings,
    pixels: Pixels,
    confidence: ByteArray | None = None,
    device: str = "cpu",
) -> ByteArray:
    """Return the (H, W) mask of a large photo; scores are in memory for a window and a strip of overlap at a time.

    confidence: (H, W) that is filled with 0 to 255 for the probability of each pixel's class.
    """
    mask = np.zeros(pixels.size, np.uint8)
    for rows, columns, part in _parts(predictor, model, infer, pixels, device):
        place = slice(*rows), slice(*columns)
        mask[place] = mask_from_scores(part)
        if confidence is not None:
            confidence[place] = grey_levels(probabilities(part).max(axis=0))
    return mask


def logits_in_windows(
    predictor: Predictor[Any, Any], model: nn.Module, infer: InferSettings, pixels: Pixels, device: str = "cpu"
) -> FloatArray:
    """Return the blended class scores of a large photo before softmax, (1+C, H, W) float32, all of them in memory."""
    whole = np.zeros((len(predictor.classes.with_background), *pixels.size), np.float32)
    for rows, columns, part in _parts(predictor, model, infer, pixels, device):
        whole[:, rows[0] : rows[1], columns[0] : columns[1]] = part
    return whole


def _parts(
    predictor: Predictor[Any, Any], model: nn.Module, infer: InferSettings, pixels: Pixels, device: str
) -> Iterator[tuple[Span, Span, FloatArray]]:
    window = infer.model_copy(update={"tile": None})

    def scores(rows: Span, columns: Span) -> FloatArray:
        with at_inference(predictor, infer.precision, device):
            return predictor.logits(model, pixels.read(rows, columns), window)

    return blended(pixels.size, infer.tile or max(pixels.size), infer.overlap, scores)
