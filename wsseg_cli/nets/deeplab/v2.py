"""Heads of DeepLab v2 (Chen et al., TPAMI 2018): the summed ASPP, its VGG-16 form, and the form of PPC's code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce

import torch
from torch import Tensor, nn

from .blocks import ConcatenatedASPP, batch_norm, kaiming_fan_out
from .v1 import VGGBranch


class SummedASPP(nn.Module):
    """Parallel dilated 3x3 convolutions directly to logits, which are summed.

    Args:
        channels: channels of conv6.
        outputs: classes and background.
        dilations: dilation of each branch; (3, 6, 9, 12) is the paper's small variant.
        std: of the normal distribution of the initial weights, with biases 0; None: torch's default (RecurSeed).
    """

    def __init__(
        self, channels: int, outputs: int, dilations: Sequence[int] = (6, 12, 18, 24), std: float | None = 0.01
    ) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Conv2d(channels, outputs, 3, padding=rate, dilation=rate) for rate in dilations
        )
        if std is not None:
            for name, parameter in self.branches.named_parameters():
                if name.endswith("weight"):
                    nn.init.normal_(parameter, std=std)
                else:
                    nn.init.zeros_(parameter)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits (N, outputs, h, w) from conv6."""
        return reduce(torch.add, (branch(features["conv6"]) for branch in self.branches))


class VGGASPP(nn.Module):
    """ASPP on VGG-16: branches of fc6, fc7 and fc8, whose logits are summed.

    Args:
        channels: channels of conv6 of a backbone without its own fc6.
        outputs: classes and background.
        dilations: dilation of each fc6; (6, 12, 18, 24) is ASPP-L, (2, 4, 8, 12) ASPP-S.
    """

    def __init__(self, channels: int, outputs: int, dilations: Sequence[int] = (6, 12, 18, 24)) -> None:
        super().__init__()
        self.branches = nn.ModuleList(VGGBranch(channels, outputs, rate) for rate in dilations)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits (N, outputs, h, w) from conv6."""
        return reduce(torch.add, (branch(features["conv6"]) for branch in self.branches))


class NormalisedASPP(nn.Module):
    """What PPC's code calls DeepLab v2: a concatenated ASPP of four 3x3 branches with batch norm.

    There are two dropouts in a row between ASPP and classifier, as published.

    Args:
        channels: channels of conv6.
        outputs: classes and background.
        dilations: dilation of each branch.
        bn_momentum: momentum of the head's batch norms.
    """

    def __init__(
        self, channels: int, outputs: int, dilations: Sequence[int] = (6, 12, 18, 24), bn_momentum: float = 3e-4
    ) -> None:
        super().__init__()
        self.aspp = ConcatenatedASPP(channels, dilations, batch_norm(bn_momentum))
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Conv2d(256, outputs, 1)
        kaiming_fan_out(self)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits (N, outputs, h, w) from conv6."""
        return self.classifier(self.dropout(self.aspp(features["conv6"])))
