"""Wide ResNet-38, "A1" of Wu et al. 2016 (arXiv 1611.10080), as in PSA and its successors: stride 8, no classifier."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..plugin.backbone import Backbone
from ..plugin.backbone_entry import FREEZING_PRESETS, BackboneEntry, BackboneOptions, Freezing

_FIRST = ("conv1a", "b2", "b2_1", "b2_2")
PUBLISHED = {
    "psa": Freezing(_FIRST, "fixed"),
    "onestage": Freezing(_FIRST, "fixed"),
    # The published DeepLab runs never called train(), so their statistics moved; scale and shift were in no group.
    "deeplab": Freezing((), "affine_fixed"),
}
"""What is frozen, by the system that published it."""

# blocks whose activated input is a feature map, and its name
_TAPPED = {"b4": "conv3", "b5": "conv4", "b6": "conv5"}


class ResNet38Options(BackboneOptions):
    """Options of ResNet-38; the defaults are those of PSA's classifier."""

    freezing_presets = FREEZING_PRESETS | PUBLISHED
    frozen_by_default = "psa"

    frozen: bool | str = Field("psa", description="what never learns: psa, onestage, deeplab, or none")
    conv3: Literal["activated", "raw"] = Field(
        "activated", description="with batch norm and ReLU (SEAM, PPC) or without (the single-stage system)"
    )
    bn_momentum: float = Field(0.1, ge=0, le=1, description="momentum of the running statistics; 3e-4 in DeepLab")
    width: int = Field(64, ge=1, description="channels of the first layer, 64 in all publications")


class ResNet38Entry(BackboneEntry[ResNet38Options]):
    """Wide ResNet-38, the backbone of PSA and its successors."""

    paper = "Wu et al., Pattern Recognition 2019"
    feature_maps = {"conv3": 4, "conv4": 8, "conv5": 8, "conv6": 8}
    parameters = 105_070_912

    def build(self) -> ResNet38:
        """Return the network."""
        o = self.options
        return ResNet38(o.width, o.conv3 == "raw", o.bn_momentum)


class ResNet38(Backbone):
    """Wide ResNet-38 with feature maps conv3 (stride 4), conv4, conv5, conv6 (stride 8).

    conv3, conv4 and conv5 are the activated inputs of blocks b4, b5 and b6, not the outputs of a stage; conv6 is
    ReLU(bn7(b7)). Sides: n becomes ceil(n / 2) three times.
    """

    stride = 8

    def __init__(self, width: int = 64, raw_conv3: bool = False, bn_momentum: float = 0.1) -> None:
        super().__init__()
        self.raw_conv3 = raw_conv3
        w = width
        self.feature_maps = {"conv3": 4 * w, "conv4": 8 * w, "conv5": 16 * w, "conv6": 64 * w}
        self.conv1a = nn.Conv2d(3, w, 3, padding=1, bias=False)
        self.b2 = Plain(w, 2 * w, 2 * w, stride=2)
        self.b2_1 = Plain(2 * w, 2 * w, 2 * w)
        self.b2_2 = Plain(2 * w, 2 * w, 2 * w)
        self.b3 = Plain(2 * w, 4 * w, 4 * w, stride=2)
        self.b3_1 = Plain(4 * w, 4 * w, 4 * w)
        self.b3_2 = Plain(4 * w, 4 * w, 4 * w)
        self.b4 = Plain(4 * w, 8 * w, 8 * w, stride=2)
        self.b4_1 = Plain(8 * w, 8 * w, 8 * w)
        self.b4_2 = Plain(8 * w, 8 * w, 8 * w)
        self.b4_3 = Plain(8 * w, 8 * w, 8 * w)
        self.b4_4 = Plain(8 * w, 8 * w, 8 * w)
        self.b4_5 = Plain(8 * w, 8 * w, 8 * w)
        self.b5 = Plain(8 * w, 8 * w, 16 * w, dilation=(1, 2))
        self.b5_1 = Plain(16 * w, 8 * w, 16 * w, dilation=(2, 2))
        self.b5_2 = Plain(16 * w, 8 * w, 16 * w, dilation=(2, 2))
        self.b6 = Bottleneck(16 * w, 32 * w, dilation=4, dropout=0.3)
        self.b7 = Bottleneck(32 * w, 64 * w, dilation=4, dropout=0.5)
        self.bn7 = nn.BatchNorm2d(64 * w)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = bn_momentum

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the feature maps (N, feature_maps[name], h, w) by name, from normalised images (N, 3, H, W)."""
        x = self.conv1a(images)
        maps: dict[str, Tensor] = {}
        for name, block in self.named_children():
            if isinstance(block, Plain | Bottleneck):
                raw = x
                x, activated = block(raw)
                if name in _TAPPED:
                    maps[_TAPPED[name]] = raw if name == "b4" and self.raw_conv3 else activated
        maps["conv6"] = F.relu(self.bn7(x), inplace=True)
        return maps


class Plain(nn.Module):
    """Pre-activation block of two 3x3 convolutions; forward returns (output, activated input)."""

    def __init__(
        self, channels: int, middle: int, out: int, stride: int = 1, dilation: tuple[int, int] = (1, 1)
    ) -> None:
        super().__init__()
        first, second = dilation
        self.bn_branch2a = nn.BatchNorm2d(channels)
        self.conv_branch2a = nn.Conv2d(channels, middle, 3, stride, padding=first, dilation=first, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(middle)
        self.conv_branch2b1 = nn.Conv2d(middle, out, 3, padding=second, dilation=second, bias=False)
        projects = channels != out or stride != 1
        self.conv_branch1 = nn.Conv2d(channels, out, 1, stride, bias=False) if projects else None

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output before activation, and the activated input, which serves as a feature map."""
        activated = F.relu(self.bn_branch2a(x), inplace=True)
        branch = F.relu(self.bn_branch2b1(self.conv_branch2a(activated)), inplace=True)
        # Without a projection, the shortcut is the raw input: the published network does not activate it.
        shortcut = x if self.conv_branch1 is None else self.conv_branch1(activated)
        return shortcut + self.conv_branch2b1(branch), activated


class Bottleneck(nn.Module):
    """Pre-activation block 1x1, dilated 3x3, 1x1 with channel dropout; forward returns (output, activated input)."""

    def __init__(self, channels: int, out: int, dilation: int, dropout: float) -> None:
        super().__init__()
        quarter, half = out // 4, out // 2
        self.bn_branch2a = nn.BatchNorm2d(channels)
        self.conv_branch2a = nn.Conv2d(channels, quarter, 1, bias=False)
        self.bn_branch2b1 = nn.BatchNorm2d(quarter)
        self.dropout_2b1 = nn.Dropout2d(dropout)
        self.conv_branch2b1 = nn.Conv2d(quarter, half, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn_branch2b2 = nn.BatchNorm2d(half)
        self.dropout_2b2 = nn.Dropout2d(dropout)
        self.conv_branch2b2 = nn.Conv2d(half, out, 1, bias=False)
        self.conv_branch1 = nn.Conv2d(channels, out, 1, bias=False)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the output before activation, and the activated input, which serves as a feature map."""
        activated = F.relu(self.bn_branch2a(x), inplace=True)
        branch = F.relu(self.bn_branch2b1(self.conv_branch2a(activated)), inplace=True)
        branch = self.conv_branch2b1(self.dropout_2b1(branch))
        branch = F.relu(self.bn_branch2b2(branch), inplace=True)
        branch = self.conv_branch2b2(self.dropout_2b2(branch))
        return self.conv_branch1(activated) + branch, activated
