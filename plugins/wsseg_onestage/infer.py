"""From views of an image to the single-stage network's score map, background included (Araslanov & Roth, CVPR 2020)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsseg_cli.ops.padded_views import class_gate, merge_padded, padded_views
from wsseg_cli.ops.views import merge_views, view_batches
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ByteArray, ClassNames, FloatArray, Normalization, ScoreMap

Forward = Callable[[Tensor], "tuple[Tensor, Tensor]"]
"""Normalised views (V, 3, h, w) -> class scores (V, C) before a sigmoid, masks (V, 1+C, h', w')."""


@torch.no_grad()
def score_map(
    forward: Forward,
    image: ByteArray,
    labels: tuple[int, ...] | None,
    infer: InferSettings,
    *,
    normalization: Normalization,
    pad_size: int | None,
    class_threshold: float,
    background_power: float,
) -> ScoreMap:
    """Return the masks of one image averaged over its views, gated classes left out, the background raised to a power.

    image: (H, W, 3) uint8 RGB. labels: the classes that are kept; None: those whose sigmoid score is above
    `class_threshold` in any view. pad_size: side of the canvas in which every view is centred; None: views as they are.

    Raises:
        DataError: the image at its largest scale does not fit the canvas.
    """
    size = (int(image.shape[0]), int(image.shape[1]))
    if labels is not None and not labels:
        return ScoreMap("", np.zeros(0, np.int64), np.zeros((0, *size), np.float32), size, np.ones(size, np.float32))
    views, places = _views(image, infer, normalization, pad_size)
    seen = [forward(view) for view in views]
    if labels is None:
        keep = class_gate(torch.cat([scores for scores, _ in seen]), class_threshold).nonzero()[:, 0]
    else:
        keep = torch.tensor(sorted(labels), device=seen[0][0].device)
    chosen = torch.cat([keep.new_zeros(1), keep + 1])
    masks = [
        F.interpolate(mask[:, chosen], view.shape[-2:], mode="bilinear", align_corners=True)
        for view, (_, mask) in zip(views, seen, strict=True)
    ]
    if places is None:
        merged = merge_views(masks, size, rule="mean")
        background = merged[0] ** background_power
    else:
        gate = torch.ones_like(keep, dtype=torch.bool)
        merged = merge_padded(torch.cat(masks), places, size, gate, flip=infer.flip, background_power=background_power)
        background = merged[0]
    arrays = [part.clamp(0, 1).float().cpu().numpy() for part in (merged[1:], background)]
    return ScoreMap("", keep.cpu().numpy().astype(np.int64), arrays[0], size, arrays[1])


def _views(
    image: ByteArray, infer: InferSettings, normalization: Normalization, pad_size: int | None
) -> tuple[list[Tensor], Tensor | None]:
    """Return the views of each scale, horizontal flips with their originals, and, if padded, where each lies."""
    if pad_size is None:
        return list(view_batches(image, infer, normalization)), None
    views, places = padded_views(image, infer, normalization, (pad_size, pad_size))
    return list(views.split(2 if infer.flip else 1)), places


def log_scores(scores: ScoreMap, classes: int) -> FloatArray:
    """Return the logarithm of a score map's masks, (1+C, H, W), background first; gated classes are close to -inf."""
    smallest = np.finfo(np.float32).tiny
    full = np.full((1 + classes, *scores.size), smallest, np.float32)
    full[np.concatenate([[0], ClassNames.mask_value(scores.classes)])] = np.maximum(scores.full(), smallest)
    return np.log(full)


class Enlarged(nn.Module):
    """The network with its logits resized to its input.

    Args:
        network: images (N, 3, H, W), normalised -> logits (N, 1+C, h, w).
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1+C, H, W) of normalised images (N, 3, H, W)."""
        return F.interpolate(self.network(images), images.shape[-2:], mode="bilinear", align_corners=True)
