"""Contrasts of patch and class tokens, the loss of masks, and the dense energy (Ru et al., CVPR 2023)."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from wsseg_cli.ops.crf.torch_lattice import gaussian_filter
from wsseg_cli.plugin import IGNORE

NOT_ZERO = 1e-4
"""Added to sums and counts of the class token contrast, as published."""


def affinity(labels: Tensor) -> Tensor:
    """Return (N, T, T) int64 of token labels (N, h, w): 1 if equal, 0 if different, 255 if one is ignored or i = j."""
    flat = labels.flatten(1)
    pairs = (flat[:, :, None] == flat[:, None]).long()
    out = flat == IGNORE
    itself = torch.eye(flat.shape[1], dtype=torch.bool, device=flat.device)
    pairs[out[:, :, None] | out[:, None] | itself] = IGNORE
    return pairs


def patch_contrast(tokens: Tensor, pairs: Tensor) -> Tensor:
    """Return how much tokens of one label differ plus how much others resemble, by the absolute value of their cosine.

    tokens: (N, D, h, w); pairs: (N, T, T) as `affinity` gives them. Means are over the pairs of all images together;
    without any pair the loss is 0.5 and has gradient 0.
    """
    unit = F.normalize(tokens.float().flatten(2), dim=1, eps=1e-8)
    cosine = torch.einsum("nds,ndt->nst", unit, unit).abs()
    same, other = (pairs == 1).to(cosine.dtype), (pairs == 0).to(cosine.dtype)
    alike = (same * cosine).sum() / (same.sum() + 1)
    unlike = (other * cosine).sum() / (other.sum() + 1)
    return 0.5 * (1 - alike) + 0.5 * unlike


def class_contrast(student: Tensor, teacher: Tensor, positive: Tensor, temperature: float) -> Tensor:
    """Return the contrast of class tokens: views of the image against crops of its background.

    student: (V * N, K), view by view, the two global ones first; teacher: (2 * N, K), the global ones; positive: (N, V)
    of 1 and 0. Of each teacher view: -log(e_j / (e_j + M)) over positive views j, plus log(1 + M), M the sum of e over
    negative ones + 1e-4 and e = exp(product / temperature). Logarithms are kept, so that no exponential overflows.
    """
    images, views = positive.shape
    products = torch.einsum(
        "rnk,vnk->nrv",
        teacher.float().unflatten(0, (2, images)),
        student.float().unflatten(0, (views, images)),
    )
    logs = products / temperature
    negative = logs.masked_fill(positive[:, None] > 0, -torch.inf)
    floor = logs.new_full((images, 2, 1), math.log(NOT_ZERO))
    against = torch.cat([negative, floor], 2).logsumexp(2)
    alike = ((torch.logaddexp(logs, against[:, :, None]) - logs) * positive[:, None]).sum(2)
    per_image = (alike + F.softplus(against)).mean(1) / (positive.sum(1) + NOT_ZERO)
    return per_image.mean()


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Return half the mean cross-entropy of background pixels plus half that of the others; 0 for a set without pixels.

    logits: (N, 1+C, H, W), background first; masks: (N, H, W) int64, 255 is left out.
    """
    entropy = F.cross_entropy(logits.float(), masks, ignore_index=IGNORE, reduction="none")
    background = (masks == 0).to(entropy.dtype)
    objects = ((masks != 0) & (masks != IGNORE)).to(entropy.dtype)
    means = [(entropy * part).sum() / part.sum().clamp(min=1) for part in (background, objects)]
    return 0.5 * (means[0] + means[1])


def dense_energy(
    probabilities: Tensor,
    pixels: Tensor,
    masks: Tensor,
    boxes: Tensor,
    *,
    weight: float = 1e-7,
    sxy: float = 100.0,
    srgb: float = 15.0,
) -> Tensor:
    """Return the gated dense energy at half size (Tang et al., ECCV 2018; gated as in Ru et al., CVPR 2022).

    -weight / N times the sum over pixels and classes of q times its filtered self, q the probabilities inside the box.
    A pixel's weight is the probability that its best class leaves, and 1 where its mask is 255; both are constants.

    probabilities: (N, 1+C, H, W); pixels: (N, 3, H, W) in 0..255; masks: (N, H, W) int64; boxes: (N, H, W) bool, where
    the crop shows the image. The filter is not normalised, so its gain is part of the loss.
    """
    half = [max(int(side) // 2, 1) for side in probabilities.shape[-2:]]
    p = F.interpolate(probabilities.float(), half, mode="bilinear", align_corners=False)
    small, inside, left_out = (
        F.interpolate(part, half, mode="nearest")
        for part in (pixels.float(), boxes[:, None].float(), (masks == IGNORE)[:, None].float())
    )
    gate = (inside - p.detach().amax(1, keepdim=True)).clamp(min=0).masked_fill(left_out > 0, 1.0)
    q = p * inside
    with torch.no_grad():
        filtered = gate * smoothed(q.detach(), small, sxy=sxy / 2, srgb=srgb)
    energy = (q * filtered).sum()
    # the filter is symmetric, so the gradient is twice that of a sum in which the filtered part is a constant
    return -weight / len(p) * (2 * energy - energy.detach())


def smoothed(values: Tensor, pixels: Tensor, *, sxy: float, srgb: float) -> Tensor:
    """Return values (N, K, h, w) filtered by position and colour of pixels (N, 3, h, w) in 0..255, not normalised."""
    height, width = pixels.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=pixels.device), torch.arange(width, device=pixels.device), indexing="ij"
    )
    places = torch.stack([x, y]).to(pixels) / sxy
    rows = []
    for image, one in zip(values, pixels, strict=True):
        features = torch.cat([places, one / srgb]).flatten(1)
        rows.append(gaussian_filter(features, image.flatten(1).T.contiguous()).T.unflatten(1, (height, width)))
    return torch.stack(rows)
