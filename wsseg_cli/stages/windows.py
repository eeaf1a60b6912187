"""A network's scores of a large image, window by window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import nn

from ..data.strips import Pixels
from ..ops.masks import mask_from_scores
from ..ops.windows import Span, blended
from ..plugin.protocols import Predictor
from ..settings import InferSettings
from ..types import ByteArray, FloatArray


def in_windows(infer: InferSettings, size: tuple[int, int]) -> bool:
    """Return whether a (H, W) image is looked at in windows."""
    return infer.tile is not None and max(size) > infer.tile


def mask_in_windows(
    predictor: Predictor[Any, Any], model: nn.Module, infer: InferSettings, pixels: Pixels
) -> ByteArray:
    """Return the (H, W) mask of a large photo; scores are in memory for a window and a strip of overlap at a time."""
    mask = np.zeros(pixels.size, np.uint8)
    for rows, columns, part in _parts(predictor, model, infer, pixels):
        mask[rows[0] : rows[1], columns[0] : columns[1]] = mask_from_scores(part)
    return mask


def logits_in_windows(
    predictor: Predictor[Any, Any], model: nn.Module, infer: InferSettings, pixels: Pixels
) -> FloatArray:
    """Return the blended class scores of a large photo before softmax, (1+C, H, W) float32, all of them in memory."""
    whole = np.zeros((len(predictor.classes.with_background), *pixels.size), np.float32)
    for rows, columns, part in _parts(predictor, model, infer, pixels):
        whole[:, rows[0] : rows[1], columns[0] : columns[1]] = part
    return whole


def _parts(
    predictor: Predictor[Any, Any], model: nn.Module, infer: InferSettings, pixels: Pixels
) -> Iterator[tuple[Span, Span, FloatArray]]:
    window = infer.model_copy(update={"tile": None})

    def scores(rows: Span, columns: Span) -> FloatArray:
        with torch.inference_mode():
            return predictor.logits(model, pixels.read(rows, columns), window)

    return blended(pixels.size, infer.tile or max(pixels.size), infer.overlap, scores)
