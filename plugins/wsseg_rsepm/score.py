"""From the single-stage network to the score map of one image, as published: the decoder's maps without background."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ByteArray, FloatArray, ScoreMap

from .maps import to_one
from .net import Fused, Mode, RsepmNet, fused, resized, seed
from .scg import PUBLISHED, ScgParameters, self_correlation

Maps = Literal["decoder", "scg", "cam"]
"""The source of a score map: the decoder's probabilities, class maps after self-correlation, or class maps alone."""


@torch.no_grad()
def score_map(
    network: RsepmNet,
    image: ByteArray,
    labels: tuple[int, ...] | None,
    infer: InferSettings,
    *,
    maps: Maps = "decoder",
    mode: Mode = "nearest",
    class_threshold: float = 0.34,
    scg: ScgParameters = PUBLISHED,
    feature_maps: tuple[str, ...] | None = None,
) -> ScoreMap:
    """Return the score map of an image (H, W, 3) uint8 RGB; a class that is kept always has a peak of about 1.

    labels: classes to keep; None: those whose score, the mean sigmoid of all views, is at least `class_threshold`.
    infer: its first scale fixes the sizes, 1.0 as published. feature_maps: those of
    self-correlation, None for all.
    """
    size = (int(image.shape[0]), int(image.shape[1]))
    if labels is not None and not labels:
        return ScoreMap("", np.zeros(0, np.int64), np.zeros((0, *size), np.float32), size)
    views = fused(network, _pixels(network, image), infer.scales, infer.flip, mode, features=maps == "scg")
    if labels is None:
        present = views.class_scores >= class_threshold
    else:
        present = torch.zeros_like(views.class_scores, dtype=torch.bool)
        present[list(labels)] = True
    classes = present.nonzero()[:, 0].cpu().numpy().astype(np.int64)
    if maps == "decoder":
        scores = seed(views.probabilities, present, size)
    else:
        scores = _class_maps(views, present, scg, feature_maps, maps)
    return ScoreMap("", classes, scores.clamp(0, 1).cpu().numpy().astype(np.float32, copy=False), size)


@torch.no_grad()
def decoder_logits(network: RsepmNet, image: ByteArray, infer: InferSettings, mode: Mode) -> FloatArray:
    """Return the logarithm of the decoder's mean probabilities over the views of an image (H, W, 3) uint8, (1+C, H, W).

    infer: its first scale fixes the sizes, 1.0 as published. mode: how the views are resized to one size.
    """
    size = (int(image.shape[0]), int(image.shape[1]))
    probabilities = fused(network, _pixels(network, image), infer.scales, infer.flip, mode).probabilities
    full = resized(probabilities[None], size, "bilinear")[0]
    return full.clamp(min=torch.finfo(full.dtype).tiny).log().cpu().numpy()


def _pixels(network: RsepmNet, image: ByteArray) -> Tensor:
    pixels = network.normalization.apply(image)
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1))).to(network.classifier.weight.device)


def _class_maps(
    views: Fused, present: Tensor, scg: ScgParameters, feature_maps: tuple[str, ...] | None, maps: Maps
) -> Tensor:
    cams = to_one(views.cams.relu().sum(0, keepdim=True))[:, present]
    if maps == "scg" and cams.shape[1]:
        features = (views.features[feature_map] for feature_map in feature_maps or views.features)
        with torch.autocast(cams.device.type, enabled=False):  # it adds 1e-10 to sums, which bf16 would lose
            cams = to_one(self_correlation(cams, features, scg))
    return cams[0]
