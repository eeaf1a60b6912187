"""The pixel correlation module: class maps revised by the similarity of pixels' features."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from wsseg_cli.ops.cam import EPSILON

from .channels import Background, remaining_background, strongest_class

BLOCK = 1024
"""Pixels whose similarities to all others are held in memory at a time."""


def correlation_layers(feature_maps: Mapping[str, int]) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d]:
    """Return the new layers f8_3 (on conv4), f8_4 (on conv5) and f9 (on both and the image).

    feature_maps: channels of each.
    """
    f8_3 = nn.Conv2d(feature_maps["conv4"], 64, 1, bias=False)
    f8_4 = nn.Conv2d(feature_maps["conv5"], 128, 1, bias=False)
    f9 = nn.Conv2d(3 + 64 + 128, 192, 1, bias=False)
    nn.init.kaiming_normal_(f8_3.weight)
    nn.init.kaiming_normal_(f8_4.weight)
    nn.init.xavier_uniform_(f9.weight, gain=4)
    return f8_3, f8_4, f9


def correlation_features(
    images: Tensor, maps: Mapping[str, Tensor], f8_3: nn.Module, f8_4: nn.Module, size: tuple[int, int]
) -> Tensor:
    """Return the features by which pixels are compared, (N, 195, h, w): the normalised image, reduced conv4 and conv5.

    No gradient reaches the backbone through them. A conv4 or conv5 finer than `size` is resized; ResNet-38's is not.
    """
    parts = [images, F.relu(f8_3(maps["conv4"].detach())), F.relu(f8_4(maps["conv5"].detach()))]
    return torch.cat([resized(part, size) for part in parts], 1)


@torch.no_grad()
def normalized_cams(cams: Tensor, background: Background = 0) -> Tensor:
    """Return the maps to be spread, (N, 1+C, h, w) in [0, 1]: each pixel keeps its strongest class (SEAM, 3.3).

    cams: (N, 1+C, h, w), raw. With r = relu(cams) and m its maximum over the pixels + 1e-5: relu(r - 1e-5) / m;
    background is 1 - the maximum over the classes. Always in float32: the step that keeps the strongest compares for
    equality, and ties are common where maps are large, since maxima become exactly 1.
    """
    rectified = F.relu(cams.float())
    highest = rectified.amax((2, 3), keepdim=True) + EPSILON
    return strongest_class(remaining_background(F.relu(rectified - EPSILON) / highest, background), background)


def revised_cams(cams: Tensor, embedding: Tensor, block: int = BLOCK) -> Tensor:
    """Return class maps spread to similar pixels, (N, 1+C, h, w) (SEAM, Wang et al., CVPR 2020, eq. 9).

    cams: (N, 1+C, h, w); embedding: (N, D, h, w), f9's output. Pixel j gets the mean of the maps over all pixels i,
    itself included, weighted by relu(cosine of i and j) / (its sum over i + 1e-5). Similarities are computed for
    `block` pixels at a time and once more in the backward pass, so memory grows with h*w*block, not (h*w)^2.
    """
    with torch.autocast(cams.device.type, enabled=False):
        flat = embedding.float().flatten(2)
        unit = flat / (flat.norm(dim=1, keepdim=True) + EPSILON)
        source = cams.float().flatten(2)
        columns = unit.split(block, dim=2)
        again = len(columns) > 1 and torch.is_grad_enabled()
        parts = [
            checkpoint(_spread, source, unit, part, use_reentrant=False) if again else _spread(source, unit, part)
            for part in columns
        ]
    return torch.cat(parts, 2).view_as(cams)


def _spread(source: Tensor, unit: Tensor, columns: Tensor) -> Tensor:
    similarity = F.relu(unit.transpose(1, 2) @ columns)
    return source @ (similarity / (similarity.sum(1, keepdim=True) + EPSILON))


def resized(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Return maps (N, C, h, w) at `size`, bilinear with aligned corners: SEAM's rule everywhere inside the network."""
    if tuple(maps.shape[2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=True)
