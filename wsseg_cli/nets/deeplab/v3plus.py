"""Head of DeepLab v3+ (Chen et al., ECCV 2018); details in which published code bases differ are options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from .blocks import ConcatenatedASPP, ConvNormReLU, Norm, batch_norm, resize


class V3Plus(nn.Module):
    """Concatenated ASPP on conv6 and a decoder that joins it with conv3; logits at the size of conv3.

    Args:
        channels: feature maps of the backbone and their channels; conv3 and conv6 are read.
        outputs: classes and background.
        dilations: dilations of the ASPP.
        shortcut: channels that conv3 is projected to.
        shortcut_kernel: 1 or 3.
        dropouts: after the first and the second convolution of the decoder.
        classifier_kernel: 1 or 3.
        classifier_bias: the classifier has a bias.
        align_corners: for the upsampling of the ASPP's result.
        norm: makes the normalisations.
        width: channels inside the head; 256 as published.
    """

    def __init__(
        self,
        channels: Mapping[str, int],
        outputs: int,
        *,
        dilations: Sequence[int] = (1, 6, 12, 18),
        shortcut: int = 48,
        shortcut_kernel: int = 1,
        dropouts: tuple[float, float] = (0.5, 0.1),
        classifier_kernel: int = 1,
        classifier_bias: bool = True,
        align_corners: bool = True,
        norm: Norm | None = None,
        width: int = 256,
    ) -> None:
        super().__init__()
        norm = norm or batch_norm()
        self.align_corners = align_corners
        self.aspp = ConcatenatedASPP(channels["conv6"], dilations, norm, width)
        self.shortcut = ConvNormReLU(channels["conv3"], shortcut, shortcut_kernel, norm)
        self.decoder = nn.Sequential(
            ConvNormReLU(width + shortcut, width, 3, norm),
            nn.Dropout(dropouts[0]),
            ConvNormReLU(width, width, 3, norm),
            nn.Dropout(dropouts[1]),
        )
        self.classifier = nn.Conv2d(
            width, outputs, classifier_kernel, padding=classifier_kernel // 2, bias=classifier_bias
        )

    def decode(self, context: Tensor, low: Tensor) -> Tensor:
        """Return logits at the size of `low`; context: the ASPP's (N, width, h, w); low: conv3 (N, D, h3, w3)."""
        low = self.shortcut(low)
        return self.classifier(self.decoder(torch.cat([resize(context, low.shape[-2:], self.align_corners), low], 1)))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits (N, outputs, h3, w3)."""
        return self.decode(self.aspp(features["conv6"]), features["conv3"])
