"""Building blocks of the DeepLab heads: convolution with norm, the concatenated ASPP, resizing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Norm = Callable[[int], nn.Module]
"""Makes a normalisation layer for a number of channels."""


def batch_norm(momentum: float = 0.1) -> Norm:
    """Return a factory of batch norms with this momentum."""
    return lambda channels: nn.BatchNorm2d(channels, momentum=momentum)


def group_norm(groups: int) -> Norm:
    """Return a factory of group norms with this number of groups."""
    return lambda channels: nn.GroupNorm(groups, channels)


def resize(maps: Tensor, size: Sequence[int], align_corners: bool) -> Tensor:
    """Return (N, D, h, w) maps resized bilinearly to `size`; the same tensor if they already have it."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    return F.interpolate(maps, size=tuple(size), mode="bilinear", align_corners=align_corners)


def kaiming_fan_out(module: nn.Module) -> None:
    """Draw every convolution of `module` from Kaiming's normal distribution, fan-out; biases are unchanged."""
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")


class ConvNormReLU(nn.Module):
    """Size-preserving convolution without bias, normalisation, ReLU.

    Args:
        channels: channels of the input.
        outputs: channels of the output.
        kernel: side of the kernel, odd.
        dilation: dilation of the kernel.
        norm: makes the normalisation.
    """

    def __init__(self, channels: int, outputs: int, kernel: int, norm: Norm, dilation: int = 1) -> None:
        super().__init__()
        padding = dilation * (kernel // 2)
        self.conv = nn.Conv2d(channels, outputs, kernel, padding=padding, dilation=dilation, bias=False)
        self.norm = norm(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h, w), non-negative."""
        return F.relu(self.norm(self.conv(x)), inplace=True)


class ConcatenatedASPP(nn.Module):
    """Atrous spatial pyramid pooling with an image-level branch (DeepLabv3, Chen et al. 2017).

    Args:
        channels: channels of the input.
        dilations: dilation of each branch; rate 1 is a 1x1 convolution, any other a 3x3.
        norm: makes the normalisation of each convolution.
        width: channels of each branch and of the result.
        dropout: dropout of the result.
    """

    def __init__(
        self, channels: int, dilations: Sequence[int], norm: Norm, width: int = 256, dropout: float = 0.5
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            ConvNormReLU(channels, width, 1 if rate == 1 else 3, norm, dilation=rate) for rate in dilations
        )
        self.pooled = ConvNormReLU(channels, width, 1, norm)
        self.project = ConvNormReLU((len(dilations) + 1) * width, width, 1, norm)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, width, h, w) from (N, channels, h, w)."""
        mean = self.pooled(x.mean((2, 3), keepdim=True))
        parts = [*(branch(x) for branch in self.branches), mean.expand(-1, -1, *x.shape[-2:])]
        return self.dropout(self.project(torch.cat(parts, 1)))
