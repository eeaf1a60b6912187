"""Class activation maps, the norms that papers put on them, and from views of an image to its score map."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..settings import InferSettings
from ..types import ByteArray, FloatArray, Normalization, ScoreMap
from .resize import strided_size
from .views import merge_views, view_batches

Norm = Literal["max", "min_max", "none"]

EPSILON = 1e-5

STRIDE = 4
"""Pixels of a cell of `ScoreMap.strided`, on which IRN's random walk begins."""


def class_activation_maps(features: Tensor, weight: Tensor) -> Tensor:
    """Return raw class activation maps (N, C, h, w) (Zhou et al., CVPR 2016, eq. 2).

    features: (N, D, h, w), the last feature map; weight: (C, D) or (C, D, 1, 1), of the linear classifier behind global
    average pooling.
    """
    return F.conv2d(features, weight.reshape(weight.shape[0], weight.shape[1], 1, 1))


def max_norm(cams: Tensor, group: int = 1) -> Tensor:
    """Return maps (K, h, w) divided by their maximum over the pixels + 1e-5 (PSA, EPS, SC-CAM).

    group: this many maps that follow each other share one maximum (SC-CAM's sub-categories of a class). Nothing is
    subtracted or rectified.
    """
    if cams.shape[0] == 0:
        return cams
    highest = cams.flatten(1).amax(1).reshape(-1, group).amax(1).repeat_interleave(group)
    return cams / (highest + EPSILON)[:, None, None]


def min_max_norm(cams: Tensor) -> Tensor:
    """Return maps (K, h, w) between their minimum and maximum as SEAM's inference does it.

    Negatives become 0; with M and m the maximum and minimum of a map, values under m + 1e-5 become 0; the result is
    (x - m - 1e-5) / (M - m + 1e-5). So the lowest pixels end a little below 0, and a map that is 0 everywhere at -1.
    """
    if cams.shape[0] == 0:
        return cams
    cams = cams.clamp(min=0)
    high = cams.flatten(1).amax(1)[:, None, None]
    low = cams.flatten(1).amin(1)[:, None, None]
    cams = torch.where(cams < low + EPSILON, torch.zeros_like(cams), cams)
    return (cams - low - EPSILON) / (high - low + EPSILON)


def rectified_min_max_norm(maps: Tensor) -> Tensor:
    """Return relu(q - m - 1e-5) / (M - m + 1e-5), q = relu(maps), differentiable through M and m (SEAM's training).

    maps: (..., h, w); M and m are each map's maximum and minimum over the pixels.
    """
    rectified = F.relu(maps)
    high = rectified.amax((-2, -1), keepdim=True)
    low = rectified.amin((-2, -1), keepdim=True)
    return F.relu(rectified - low - EPSILON) / (high - low + EPSILON)


NORMS: dict[str, Callable[[Tensor], Tensor]] = {"max": max_norm, "min_max": min_max_norm, "none": lambda cams: cams}
"""The norms of `multi_scale` by name."""


@torch.no_grad()
def multi_scale(
    model: nn.Module,
    image: ByteArray,
    labels: tuple[int, ...] | None,
    infer: InferSettings,
    *,
    normalization: Normalization,
    forward: Callable[[Tensor], Tensor] | None = None,
    activation: Callable[[Tensor], Tensor] | None = None,
    logits: Callable[[Tensor], Tensor] | None = None,
    class_threshold: float = 0.5,
    norm: Norm = "max",
    multiple: int = 1,
    stride: int | None = None,
) -> ScoreMap:
    """Return the score map of one image from views at several scales, each with its horizontal flip (PSA, SEAM, EPS).

    Per view: forward, activation, bilinear to (H, W) with half-pixel centres, flipped back; then the sum over the
    views and `norm`, clipped to [0, 1]. With `multiple` the views meet at (H, W) rounded up to multiples of it, and the
    sum is cut to (H, W) (IRN and PuzzleCAM, 16). With `stride` the views also meet at ((H-1)//stride+1, …), which
    gives the map's `strided` (the same two, 4).

    image: (H, W, 3) uint8 RGB. labels: classes to keep; None: those whose sigmoid score, averaged over the views, is at
    least `class_threshold`. forward: normalised views (V, 3, h, w) -> raw maps (V, C', h', w'), by default the model;
    the model is expected in eval mode and says the device. activation: raw maps -> maps of the C foreground classes
    (V, C, h', w'), by default ReLU. logits: raw maps -> class logits (V, C), by default their spatial mean.
    """
    forward = forward or model
    activation = activation or F.relu
    logits = logits or (lambda maps: maps.mean((2, 3)))
    device = next((p.device for p in model.parameters()), torch.device("cpu"))
    size = (int(image.shape[0]), int(image.shape[1]))

    if labels is not None and not labels:
        return _empty(size)
    keep = None if labels is None else torch.tensor(sorted(labels), device=device)
    maps, probabilities = [], []
    for batch in view_batches(image, infer, normalization):
        raw = forward(batch.to(device))
        active = activation(raw).float()
        if keep is None:
            probabilities.append(logits(raw).float().sigmoid())
            maps.append(active)
        else:
            maps.append(active[:, keep])  # absent classes would be multiplied by 0
    if keep is None:
        keep = torch.nonzero(torch.cat(probabilities).mean(0) >= class_threshold)[:, 0]
        maps = [m[:, keep] for m in maps]
    classes = keep.cpu().numpy().astype(np.int64)
    if not len(classes):
        return _empty(size)
    together = merge_views(maps, (-(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple))
    fused = _normed(together[:, : size[0], : size[1]], norm)
    strided = None if stride is None else _normed(merge_views(maps, strided_size(size, stride)), norm)
    return ScoreMap("", classes, fused, size, strided=strided)


def _normed(maps: Tensor, norm: Norm) -> FloatArray:
    return NORMS[norm](maps).clamp(0, 1).cpu().numpy().astype(np.float32, copy=False)


def _empty(size: tuple[int, int]) -> ScoreMap:
    return ScoreMap("", np.zeros(0, np.int64), np.zeros((0, *size), np.float32), size)
