"""A network for prediction, in operations that an exporter can write for any image size."""

from __future__ import annotations

from fractions import Fraction

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsseg_cli.nets.deeplab import DeepLab
from wsseg_cli.nets.deeplab.blocks import resize


class Fused(nn.Module):
    """A network on several sizes of its input, fused by the maximum; logits at the size of the input.

    The same numbers as the last of `pyramid_logits`, enlarged.

    Args:
        network: logits of normalised images.
        scales: sizes besides the input itself; none: the network alone.
    """

    def __init__(self, network: DeepLab, scales: tuple[float, ...]) -> None:
        super().__init__()
        self.network = network
        self.scales = scales

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1+C, H, W) of normalised images (N, 3, H, W)."""
        logits = self.network(images)
        for scale in self.scales:
            smaller = self.network(scaled_exactly(images, scale))
            logits = torch.maximum(logits, resize(smaller, logits.shape[-2:], align_corners=False))
        return resize(logits, images.shape[-2:], self.network.align_corners)


def scaled_exactly(images: Tensor, scale: float) -> Tensor:
    """Return (N, 3, floor(H * scale), floor(W * scale)), bilinear, sampled exactly 1 / scale pixels apart.

    As `interpolate(scale_factor=scale)`, whose sizes an exporter cannot follow: the border is repeated up to a size
    that the scale divides, and the excess is cropped afterwards.
    """
    ratio = Fraction(scale).limit_denominator(1000)
    cells = [(length + ratio.denominator - 1) // ratio.denominator for length in images.shape[-2:]]
    wanted = [length * ratio.numerator // ratio.denominator for length in images.shape[-2:]]
    for axis, count in zip((2, 3), cells, strict=True):
        places = torch.arange(count * ratio.denominator, device=images.device)
        images = images.index_select(axis, places.clamp(max=images.shape[axis] - 1))
    small = F.interpolate(images, [n * ratio.numerator for n in cells], mode="bilinear", align_corners=False)
    return small[:, :, : wanted[0], : wanted[1]]
