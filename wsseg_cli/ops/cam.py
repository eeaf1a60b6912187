"""Class activation maps, how papers normalise them, and the score map of an image from its views."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..settings import InferSettings
from ..types import ByteArray, FloatArray, IntArray, Normalization, ScoreMap
from .resize import strided_size
from .views import forward_views, merge_views, view_batches
from .windows import Span, blended, spans, weights

Norm = Literal["max", "min_max", "none"]

EPSILON = 1e-5

STRIDE = 4
"""Pixels per cell of `ScoreMap.strided`, from which IRN's random walk starts."""


def class_activation_maps(features: Tensor, weight: Tensor) -> Tensor:
    """Return raw class activation maps (N, C, h, w) (Zhou et al., CVPR 2016, eq. 2).

    features: (N, D, h, w), the last feature map; weight: (C, D) or (C, D, 1, 1), of the linear classifier after global
    average pooling.
    """
    return F.conv2d(features, weight.reshape(weight.shape[0], weight.shape[1], 1, 1))


def max_norm(cams: Tensor, group: int = 1) -> Tensor:
    """Return maps (K, h, w) divided by their maximum over the pixels + 1e-5 (PSA, EPS, SC-CAM).

    group: this many consecutive maps share one maximum (SC-CAM's sub-categories of a class). Nothing is
    subtracted or rectified.
    """
    if cams.shape[0] == 0:
        return cams
    highest = cams.flatten(1).amax(1).reshape(-1, group).amax(1).repeat_interleave(group)
    return cams / (highest + EPSILON)[:, None, None]


def min_max_norm(cams: Tensor) -> Tensor:
    """Return maps (K, h, w) normalised between their minimum and maximum as in SEAM's inference.

    Negatives become 0; with M and m the maximum and minimum of a map, values under m + 1e-5 become 0; the result is
    (x - m - 1e-5) / (M - m + 1e-5). So the lowest pixels end up a little below 0, and a map that is 0 everywhere
    becomes -1.
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
"""The normalisations of `multi_scale` by name."""


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
    views and `norm`, clipped to [0, 1]. With `multiple` the views are summed at (H, W) rounded up to multiples of it,
    and the sum is cropped to (H, W) (IRN and PuzzleCAM, 16). With `stride` they are also summed at ((H-1)//stride+1,
    …), which gives the map's `strided` (IRN and PuzzleCAM, 4).

    image: (H, W, 3) uint8 RGB. labels: classes to keep; None: those whose sigmoid score, averaged over the views, is at
    least `class_threshold`. forward: normalised views (V, 3, h, w) -> raw maps (V, C', h', w'), by default the model;
    the model must be in eval mode and determines the device. activation: raw maps -> maps of the C foreground classes
    (V, C, h', w'), by default ReLU. logits: raw maps -> class logits (V, C), by default their spatial mean.

    An image larger than `infer.tile` is processed in windows. Their sums over the views are blended before `norm`;
    their logits are weighted by the share of the image that each stands for; there is no `strided` then.
    """
    looks = _Looks(model, infer, normalization, forward or model, activation or F.relu, logits or _spatial_mean)
    size = (int(image.shape[0]), int(image.shape[1]))
    if labels is not None and not labels:
        return _empty(size)
    known = None if labels is None else torch.tensor(sorted(labels), device=looks.device)
    if infer.tile is not None and max(size) > infer.tile:
        keep = looks.predicted_in_windows(image, class_threshold) if known is None else known
        together = looks.blended(image, keep, multiple) if len(keep) else None
        return _empty(size) if together is None else ScoreMap("", _numbers(keep), _normed(together, norm), size)
    maps, keep = looks.maps(image, known, class_threshold)
    if not len(keep):
        return _empty(size)
    fused = _normed(_merged(maps, size, multiple), norm)
    strided = None if stride is None else _normed(merge_views(maps, strided_size(size, stride)), norm)
    return ScoreMap("", _numbers(keep), fused, size, strided=strided)


@dataclass(frozen=True)
class _Looks:
    """A network and its views of an image."""

    model: nn.Module
    infer: InferSettings
    normalization: Normalization
    forward: Callable[[Tensor], Tensor]
    activation: Callable[[Tensor], Tensor]
    logits: Callable[[Tensor], Tensor]

    @property
    def device(self) -> torch.device:
        """Device of the network."""
        return next((p.device for p in self.model.parameters()), torch.device("cpu"))

    def raw(self, image: ByteArray) -> Iterator[Tensor]:
        """Yield the raw maps of each scale's views."""
        for batch in view_batches(image, self.infer, self.normalization):
            yield forward_views(self.forward, batch.to(self.device))

    def maps(self, image: ByteArray, keep: Tensor | None, threshold: float) -> tuple[list[Tensor], Tensor]:
        """Return each scale's activated maps of the classes `keep` (None: those predicted), and these classes."""
        maps, probabilities = [], []
        for raw in self.raw(image):
            active = self.activation(raw).float()
            if keep is None:
                probabilities.append(self.logits(raw).float().sigmoid())
            # absent classes would be multiplied by 0
            maps.append(active if keep is None else active[:, keep])
        if keep is None:
            keep = torch.nonzero(torch.cat(probabilities).mean(0) >= threshold)[:, 0]
            maps = [m[:, keep] for m in maps]
        return maps, keep

    def predicted_in_windows(self, image: ByteArray, threshold: float) -> Tensor:
        """Return the classes whose sigmoid score, averaged over the views, reaches `threshold`."""
        tile, overlap = self.infer.tile or max(image.shape), self.infer.overlap
        rows, columns = spans(image.shape[0], tile, overlap), spans(image.shape[1], tile, overlap)
        down, right = weights(rows, overlap), weights(columns, overlap)
        total: Tensor | None = None
        for (top, bottom), height in zip(rows, down, strict=True):
            for (left, stop), width in zip(columns, right, strict=True):
                share = float(height.sum() * width.sum()) / (image.shape[0] * image.shape[1])
                views = torch.cat([self.logits(raw).float() for raw in self.raw(image[top:bottom, left:stop])])
                total = views * share if total is None else total + views * share
        found = torch.zeros(0) if total is None else total.sigmoid().mean(0)
        return torch.nonzero(found >= threshold)[:, 0]

    def blended(self, image: ByteArray, keep: Tensor, multiple: int) -> Tensor:
        """Return the windows' sums over the views, blended into one map (K, H, W)."""
        whole = np.zeros((len(keep), *image.shape[:2]), np.float32)

        def scores(rows: Span, columns: Span) -> FloatArray:
            window = image[rows[0] : rows[1], columns[0] : columns[1]]
            size = (int(window.shape[0]), int(window.shape[1]))
            return _merged(self.maps(window, keep, 0)[0], size, multiple).cpu().numpy()

        for rows, columns, part in blended(whole.shape[1:], self.infer.tile or 0, self.infer.overlap, scores):
            whole[:, rows[0] : rows[1], columns[0] : columns[1]] = part
        return torch.from_numpy(whole)


def _spatial_mean(maps: Tensor) -> Tensor:
    return maps.mean((2, 3))


def _merged(maps: list[Tensor], size: tuple[int, int], multiple: int) -> Tensor:
    together = merge_views(maps, (-(-size[0] // multiple) * multiple, -(-size[1] // multiple) * multiple))
    return together[:, : size[0], : size[1]]


def _numbers(classes: Tensor) -> IntArray:
    return classes.cpu().numpy().astype(np.int64)


def _normed(maps: Tensor, norm: Norm) -> FloatArray:
    return NORMS[norm](maps).clamp(0, 1).cpu().numpy().astype(np.float32, copy=False)


def _empty(size: tuple[int, int]) -> ScoreMap:
    return ScoreMap("", np.zeros(0, np.int64), np.zeros((0, *size), np.float32), size)
