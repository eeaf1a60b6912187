"""EdgePredictMix and CertainMix: certain objects of one image pasted into another. Reconstructed.

CertainMix (arXiv v1) is well documented; of EdgePredictMix (v3, v4) only the idea is known, its definition is ours.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg_cli.ops.pamr import RING
from wsseg_cli.types import IGNORE

from .maps import enlarged


def decoder_probabilities(logits: Tensor, labels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return class probabilities (N, 1+C, *size) with absent classes at 0, background kept, renormalised to one.

    logits: (N, 1+C, h, w), background first; labels: (N, C) multi-hot.
    """
    kept = torch.cat([torch.ones_like(labels[:, :1]), labels], 1)[:, :, None, None]
    probabilities = enlarged(logits.softmax(1), size) * kept
    # at least the background is left, but it can underflow to 0
    return probabilities / probabilities.sum(1, keepdim=True).clamp(min=torch.finfo(probabilities.dtype).tiny)


def steepest_step(probabilities: Tensor, inside: Tensor) -> Tensor:
    """Return the largest difference to a neighbour over all classes, (N, h, w) in [0, 1].

    probabilities: (N, 1+C, h, w). The 8 neighbours, positions clamped to the picture; pairs with an end outside
    `inside` (N, h, w) bool do not count.
    """
    n, _, height, width = probabilities.shape
    padded = F.pad(probabilities, (1, 1, 1, 1), mode="replicate")
    known = F.pad(inside[:, None].to(probabilities.dtype), (1, 1, 1, 1), mode="replicate")[:, 0] > 0
    steepest = probabilities.new_zeros(n, height, width)
    for dy, dx in RING:
        rows, columns = slice(1 + dy, 1 + dy + height), slice(1 + dx, 1 + dx + width)
        step = (probabilities - padded[:, :, rows, columns]).abs().amax(1)
        steepest = torch.maximum(steepest, step * (inside & known[:, rows, columns]))
    return steepest


def edge_labels(probabilities: Tensor, steps: Tensor, inside: Tensor, certain: float, edge: float) -> Tensor:
    """Return masks (N, H, W) int64: the most probable class where it is certain or the edge is sharp, else 255.

    probabilities: (N, 1+C, H, W); steps: (N, h, w), as `steepest_step` gives them, enlarged here by "nearest". A steep
    change marks a sharp boundary, where the most probable class is right although no class is likely; a gentle slope is
    real doubt. inside: (N, H, W) bool; outside is 255.
    """
    highest, label = probabilities.max(1)
    steep = F.interpolate(steps[:, None], size=label.shape[1:], mode="nearest")[:, 0] >= edge
    return torch.where(inside & ((highest >= certain) | steep), label, IGNORE)


@dataclass(frozen=True)
class Pasting:
    """What is pasted into each image of a batch.

    Attributes:
        source: (N,) index of the image that it comes from.
        region: (N, H, W) bool, the pixels that are pasted; empty if nothing is.
        mixed: (N,) bool, False for an image that stays as it is: its own partner, or one without an object.
    """

    source: Tensor
    region: Tensor
    mixed: Tensor

    def paste(self, values: Tensor) -> Tensor:
        """Return values (N, …, H, W) with the region of each image taken from its source."""
        region = self.region.reshape(len(values), *[1] * (values.ndim - 3), *self.region.shape[1:])
        return torch.where(region, values[self.source], values)


def draw_pasting(masks: Tensor, num_classes: int) -> Pasting:
    """Return a random pasting: a partner from the batch, a random half of its classes, rounded up (ClassMix).

    masks: (N, H, W) int64, mask values or 255; pixels of 255 are not pasted. Draws come from torch's CPU generator, so
    they are the same on all devices.
    """
    n = len(masks)
    source = torch.randperm(n)
    order = torch.rand(n, num_classes)
    source, order = source.to(masks.device), order.to(masks.device)
    values = torch.arange(1, num_classes + 1, device=masks.device)
    seen = torch.stack([torch.bincount(m.flatten(), minlength=IGNORE + 1)[values] > 0 for m in masks])[source]
    rank = torch.where(seen, order, torch.inf).argsort(1).argsort(1)
    chosen = seen & (rank < (seen.sum(1, keepdim=True) + 1) // 2)
    mixed = (source != torch.arange(n, device=masks.device)) & seen.any(1)
    chosen = chosen & mixed[:, None]
    table = torch.zeros(n, IGNORE + 1, dtype=torch.bool, device=masks.device)
    table[:, values] = chosen
    region = table.gather(1, masks[source].flatten(1)).reshape(masks.shape)
    return Pasting(source, region, mixed)
