"""Heads of DeepLab v1: LargeFOV (Chen et al., ICLR 2015), with batch norm on a ResNet, plain on VGG-16."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from .blocks import ConvNormReLU, batch_norm, kaiming_fan_out


class LargeFOV(nn.Module):
    """A 3x3 convolution of rate 12 and a 1x1 one, each with batch norm, then the classifier (DeepLab of SEAM and PPC).

    Args:
        channels: channels of conv6.
        outputs: classes and background.
        width: hidden channels.
        bn_momentum: momentum of the head's batch norms.
    """

    def __init__(self, channels: int, outputs: int, width: int = 512, bn_momentum: float = 3e-4) -> None:
        super().__init__()
        self.fov = ConvNormReLU(channels, width, 3, batch_norm(bn_momentum), dilation=12)
        self.mix = ConvNormReLU(width, width, 1, batch_norm(bn_momentum))
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Conv2d(width, outputs, 1)
        kaiming_fan_out(self)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits (N, outputs, h, w) from conv6."""
        return self.classifier(self.dropout(self.mix(self.fov(features["conv6"]))))


class PointClassifier(nn.Module):
    """A 1x1 convolution on conv6, the head that the DeepLab authors trained their COCO start weights with.

    Args:
        channels: channels of conv6.
        outputs: classes and background.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(channels, outputs, 1)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits (N, outputs, h, w) from conv6."""
        return self.classifier(features["conv6"])


class VGGBranch(nn.Sequential):
    """fc6, fc7, fc8 of DeepLab on VGG-16: a dilated 3x3 and two 1x1 convolutions with dropout in between.

    Args:
        channels: channels of the backbone's last feature map.
        outputs: classes and background.
        rate: dilation of fc6.
        width: hidden channels.
    """

    def __init__(self, channels: int, outputs: int, rate: int, width: int = 1024) -> None:
        fc8 = nn.Conv2d(width, outputs, 1)
        nn.init.normal_(fc8.weight, std=0.01)
        if fc8.bias is not None:
            nn.init.zeros_(fc8.bias)
        super().__init__()
        self.add_module("fc6", nn.Conv2d(channels, width, 3, padding=rate, dilation=rate))
        self.add_module("relu6", nn.ReLU(inplace=True))
        self.add_module("drop6", nn.Dropout(0.5))
        self.add_module("fc7", nn.Conv2d(width, width, 1))
        self.add_module("relu7", nn.ReLU(inplace=True))
        self.add_module("drop7", nn.Dropout(0.5))
        self.add_module("fc8", fc8)


class VGGLargeFOV(nn.Module):
    """LargeFOV on VGG-16: one branch of rate 12. DeepLab v1, and the same network in v2.

    Args:
        channels: channels of conv6 of a backbone without its own fc6.
        outputs: classes and background.
    """

    def __init__(self, channels: int, outputs: int) -> None:
        super().__init__()
        self.branch = VGGBranch(channels, outputs, rate=12)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return logits (N, outputs, h, w) from conv6."""
        return self.branch(features["conv6"])
