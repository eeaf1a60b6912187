"""The small backbone of the toy recipes: learns the toy scenes from scratch in a minute on one CPU core."""

from __future__ import annotations

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..plugin.backbone import Backbone
from ..plugin.backbone_entry import BackboneEntry, BackboneOptions


class SmallOptions(BackboneOptions):
    """Options of the small backbone.

    dilation controls the receptive field: with 1, class activation maps show parts of an object; with 4, they are
    smooth blobs.
    """

    width: int = Field(32, ge=2, description="channels at stride 4; twice as many at stride 8, 4 times in conv6")
    dilation: int = Field(2, ge=1, description="dilation of the second block at stride 8")


class Residual(nn.Module):
    """Two 3x3 convolutions with a shortcut around them; channels and size are kept."""

    def __init__(self, channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, D, h, w) features, non-negative."""
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(x + self.bn2(self.conv2(y)))


class Small(Backbone):
    """A residual network of 200 000 parameters at stride 8, without classifier.

    Its feature maps are conv2 and conv3 at stride 4 (stem and first block), conv4 to conv6 at stride 8.
    """

    def __init__(self, options: SmallOptions) -> None:
        super().__init__()
        width = options.width
        self.stride = 8
        self.feature_maps = {"conv2": width, "conv3": width, "conv4": 2 * width, "conv5": 2 * width, "conv6": 4 * width}
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width // 2),
            nn.ReLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        )
        self.block3 = Residual(width)
        self.down = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(2 * width), nn.ReLU()
        )
        self.block4 = Residual(2 * width)
        self.block5 = Residual(2 * width, options.dilation)
        self.last = nn.Sequential(nn.Conv2d(2 * width, 4 * width, 1, bias=False), nn.BatchNorm2d(4 * width), nn.ReLU())
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the feature maps by name; images: (N, 3, H, W), normalised."""
        conv2 = self.stem(images)
        conv3 = self.block3(conv2)
        conv4 = self.block4(self.down(conv3))
        conv5 = self.block5(conv4)
        return {"conv2": conv2, "conv3": conv3, "conv4": conv4, "conv5": conv5, "conv6": self.last(conv5)}


class SmallEntry(BackboneEntry[SmallOptions]):
    """The backbone of the toy recipes: learns the toy scenes from scratch in a minute."""

    feature_maps = {"conv2": 4, "conv3": 4, "conv4": 8, "conv5": 8, "conv6": 8}
    parameters = 198_672

    def build(self) -> Small:
        """Return the network."""
        return Small(self.options)
