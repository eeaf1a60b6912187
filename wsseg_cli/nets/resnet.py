"""Bottleneck ResNet-50 and -101 in every form that the published systems use; tensor names are torchvision's."""

from __future__ import annotations

from typing import Any, Literal

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..errors import CheckpointError
from ..plugin.backbone import Backbone
from ..plugin.backbone_entry import FREEZING_PRESETS, BackboneEntry, BackboneOptions, Freezing
from ..types import HubFile
from .torchvision_hub import torchvision_file

BLOCKS: dict[str, tuple[int, int, int, int]] = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}
"""Number of blocks in each of the four stages."""

CAFFE_LAYOUT: dict[str, Any] = {
    "output_stride": 8,
    "dilation": "all_blocks",
    "stride_place": "1x1",
    "ceil_pool": True,
    "bn_momentum": 1e-3,
    "normalization": "caffe",
}
"""Options of the ResNet-101 that the DeepLab authors trained in Caffe."""

StridePlace = Literal["3x3", "1x1"]

PUBLISHED = {
    "onestage": Freezing(("conv1", "bn1"), "fixed"),
    "irn": Freezing(("conv1", "bn1", "layer1", "layer2"), "statistics_fixed"),
    "deeplab": Freezing((), "affine_fixed"),
}
"""What is frozen in the single-stage system, IRN's classifier, and DeepLab of SEAM and PPC (batch statistics, but
scale and shift were in no parameter group). In addition: `whole` in IRN's edge network, `batch_norm` in
deeplab-pytorch (as loaded), `statistics` in DeepLab of PuzzleCAM (stored; scale and shift learn)."""


class ResNetOptions(BackboneOptions):
    """Options of ResNet-50 and -101; the defaults are torchvision's network at stride 16.

    dilation: what replaces a removed stride. "none": nothing (IRN, 1-stage, RecurSeed at stride 16, PuzzleCAM);
    "torchvision": the stage doubles its dilation, its first block keeps the previous one (DeepLab of SEAM and PPC);
    "undilated_first": the first block has none at all (RecurSeed at stride 8); "all_blocks": the first block, too, is
    dilated (Caffe).
    """

    freezing_presets = FREEZING_PRESETS | PUBLISHED
    frozen_by_default = "onestage"

    output_stride: Literal[8, 16, 32] = Field(16, description="image pixels per cell of the last feature map")
    dilation: Literal["none", "torchvision", "undilated_first", "all_blocks"] = Field(
        "none", description="which blocks are dilated where a stride was removed"
    )
    stem: Literal["7x7", "deep"] = Field("7x7", description="deep: three 3x3 convolutions (weights resnet101s)")
    stride_place: StridePlace = Field("3x3", description="convolution of a block that has its stride")
    ceil_pool: bool = Field(False, description="the max-pool rounds its size up, as in Caffe")
    bn_momentum: float = Field(0.1, ge=0, le=1, description="momentum of the running statistics")


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 convolutions with a shortcut around them.

    Args:
        channels: channels of the input.
        width: channels of the 3x3 convolution; the output has 4 * width channels.
        stride: stride of the block, applied where `stride_place` says.
        dilation: dilation of the 3x3 convolution.
        project: the shortcut is a 1x1 convolution (first block of a stage) instead of the identity.
        stride_place: "3x3" (torchvision) or "1x1", the first convolution (Caffe).
    """

    def __init__(
        self, channels: int, width: int, stride: int, dilation: int, project: bool, stride_place: StridePlace
    ) -> None:
        super().__init__()
        first, second = (stride, 1) if stride_place == "1x1" else (1, stride)
        self.conv1 = nn.Conv2d(channels, width, 1, stride=first, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride=second, padding=dilation, dilation=dilation, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.downsample: nn.Sequential | None = None
        if project:
            self.downsample = nn.Sequential(
                nn.Conv2d(channels, 4 * width, 1, stride=stride, bias=False), nn.BatchNorm2d(4 * width)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, 4 * width, h, w) features, non-negative."""
        y = F.relu(self.bn1(self.conv1(x)), inplace=True)
        y = F.relu(self.bn2(self.conv2(y)), inplace=True)
        y = self.bn3(self.conv3(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)), inplace=True)


class ResNet(Backbone):
    """ResNet without classifier (He et al., CVPR 2016).

    Args:
        name: a key of `BLOCKS`.
        options: strides, dilations, stem, pixels, what is frozen.

    Its feature maps are conv2, the stem's, and conv3 to conv6, those of layer1 to layer4.
    """

    def __init__(self, name: str, options: ResNetOptions) -> None:
        super().__init__()
        self.name = name
        self.deep_stem = options.stem == "deep"
        self.stride = options.output_stride

        if options.stem == "deep":
            self.conv1: nn.Module = nn.Sequential(
                nn.Conv2d(3, 64, 3, stride=2, padding=1, bias=False),
                nn.BatchNorm2d(64),
                nn.ReLU(inplace=True),
                nn.Conv2d(64, 64, 3, padding=1, bias=False),
                nn.BatchNorm2d(64),
                nn.ReLU(inplace=True),
                nn.Conv2d(64, 128, 3, padding=1, bias=False),
            )
        else:
            self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        channels = 128 if options.stem == "deep" else 64
        self.bn1 = nn.BatchNorm2d(channels)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1, ceil_mode=options.ceil_pool)
        self.feature_maps = {"conv2": channels}

        reached, grown = 4, 1
        for number, (count, width) in enumerate(zip(BLOCKS[name], (64, 128, 256, 512), strict=True), start=1):
            stride = 1 if number == 1 or reached == options.output_stride else 2
            reached *= stride
            before = grown
            if number > 1 and stride == 1 and options.dilation != "none":
                grown *= 2
            first = {"torchvision": before, "undilated_first": 1}.get(options.dilation, grown)
            self.add_module(
                f"layer{number}", _stage(channels, width, count, stride, first, grown, options.stride_place)
            )
            channels = 4 * width
            self.feature_maps[f"conv{number + 2}"] = channels

        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(module, nn.BatchNorm2d):
                module.momentum = options.bn_momentum

    def stem(self, images: Tensor) -> Tensor:
        """Return the feature map before layer1, (N, 64 or 128, H/4, W/4)."""
        return self.maxpool(F.relu(self.bn1(self.conv1(images)), inplace=True))

    def hub_file(self) -> HubFile:
        """Return torchvision's weights of this ResNet: those of 2016, which the papers start from.

        Raises:
            CheckpointError: torchvision has no ResNet of this form.
        """
        if self.deep_stem:
            raise CheckpointError(
                f"weights: hub: torchvision's {self.name} has the 7x7 stem; with stem: deep use "
                "`weights: resnet101s_imagenet`"
            )
        return torchvision_file(self.name, self.normalization)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the feature maps by name; images: (N, 3, H, W), normalised."""
        x = self.stem(images)
        features = {"conv2": x}
        for number in range(1, 5):
            x = self.get_submodule(f"layer{number}")(x)
            features[f"conv{number + 2}"] = x
        return features


def _stage(
    channels: int, width: int, count: int, stride: int, first: int, dilation: int, stride_place: StridePlace
) -> nn.Sequential:
    blocks = [Bottleneck(channels, width, stride, first, True, stride_place)]
    blocks += [Bottleneck(4 * width, width, 1, dilation, False, stride_place) for _ in range(count - 1)]
    return nn.Sequential(*blocks)


class ResNet50(BackboneEntry[ResNetOptions]):
    """Bottleneck ResNet-50 in every form that the published systems use."""

    paper = "He et al., CVPR 2016"
    feature_maps = {"conv2": 4, "conv3": 4, "conv4": 8, "conv5": 16, "conv6": 16}
    parameters = 23_508_032

    def build(self) -> ResNet:
        """Return the network."""
        return ResNet("resnet50", self.options)


class ResNet101(BackboneEntry[ResNetOptions]):
    """Bottleneck ResNet-101 in every form that the published systems use."""

    paper = "He et al., CVPR 2016"
    feature_maps = {"conv2": 4, "conv3": 4, "conv4": 8, "conv5": 16, "conv6": 16}
    parameters = 42_500_160

    def build(self) -> ResNet:
        """Return the network."""
        return ResNet("resnet101", self.options)
