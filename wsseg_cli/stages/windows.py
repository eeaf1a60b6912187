"""A network's mask of an image: at once, made smaller, or window by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch import nn

from ..data.strips import Pixels
from ..ops.masks import crf_scores, mask_at_size, mask_from_scores
from ..ops.resize import shrunk
from ..ops.windows import Span, blended
from ..plugin.protocols import Predictor
from ..recipe.sections import EvalSettings
from ..settings import InferSettings
from ..types import ByteArray, FloatArray
from .plugins import at_inference, crf_image


def network_mask(
    predictor: Predictor[Any, Any],
    model: nn.Module,
    section: EvalSettings,
    pixels: Pixels,
    longest: int | None,
    device: str,
) -> tuple[ByteArray, tuple[int, int]]:
    """Return the (H, W) mask of a photo and the (h, w) at which the network saw it.

    A photo larger than `longest` is made smaller first; what is then larger than `infer.tile` is looked at in windows.
    """
    infer, crf = section.infer, section.crf
    smaller = longest is not None and max(pixels.size) > longest
    seen = Pixels.of(shrunk(pixels.whole(), longest)) if smaller else pixels
    if in_windows(infer, seen.size) and crf is None and not smaller:
        return mask_in_windows(predictor, model, infer, pixels, device), seen.size
    if in_windows(infer, seen.size):
        logits = logits_in_windows(predictor, model, infer, seen, device)
    else:
        with at_inference(predictor, infer.precision, device):
            logits = predictor.logits(model, seen.whole(), infer)
    scores = logits if crf is None else crf_scores(logits, crf_image(crf, predictor, seen.whole()), crf, device)
    return mask_at_size(scores, pixels.size), seen.size


def in_windows(infer: InferSettings, size: tuple[int, int]) -> bool:
    """Return whether a (H, W) image is looked at in windows."""
    return infer.tile is not None and max(size) > infer.tile


def mask_in_windows(
    predictor: Predictor[Any, Any], model: nn.Module, infer: InferSettings, pixels: Pixels, device: str = "cpu"
) -> ByteArray:
    """Return the (H, W) mask of a large photo; scores are in memory for a window and a strip of overlap at a time."""
    mask = np.zeros(pixels.size, np.uint8)
    for rows, columns, part in _parts(predictor, model, infer, pixels, device):
        mask[rows[0] : rows[1], columns[0] : columns[1]] = mask_from_scores(part)
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
