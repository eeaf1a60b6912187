"""VGG-16 with a dilated tail of stride 8 (Chen et al. 2015), as in PSA, the single-stage system and DeepLab."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import CheckpointError
from ..plugin.backbone import Backbone
from ..plugin.backbone_entry import FREEZING_PRESETS, BackboneEntry, BackboneOptions, Freezing
from ..types import CAFFE, HubFile
from .torchvision_hub import torchvision_file, vgg16_names

PUBLISHED = {
    "psa": Freezing(("conv1_1", "conv1_2", "conv2_1", "conv2_2")),
    "onestage": Freezing(("conv1_1", "conv1_2")),
}
"""What is frozen, by the system that published it; there is no batch norm."""

Tail = Literal["none", "max", "max_mean"]

# (names of the convolutions, channels in units of the width, dilation), one row per pooling layer
_STAGES = (
    (("conv1_1", "conv1_2"), 1, 1),
    (("conv2_1", "conv2_2"), 2, 1),
    (("conv3_1", "conv3_2", "conv3_3"), 4, 1),
    (("conv4_1", "conv4_2", "conv4_3"), 8, 1),
    (("conv5_1", "conv5_2", "conv5_3"), 8, 2),
)


class VGG16Options(BackboneOptions):
    """Options of VGG-16; the defaults are those of PSA's classifier.

    fc6_dilation: 1 in classifiers, 4 in AffinityNet, 12 in DeepLab-LargeFOV. pool5: `max` in DeepLab v2, `max_mean` in
    v1; PSA builds both layers but applies neither. normalization: Caffe's; in the single-stage system imagenet.
    """

    freezing_presets = FREEZING_PRESETS | PUBLISHED
    frozen_by_default = "psa"

    frozen: bool | str = Field("psa", description="what never learns: psa, onestage, or none")
    fc6_dilation: int | None = Field(1, ge=1, description="dilation of fc6; null: the backbone ends before it")
    pool5: Tail = Field("none", description="pooling before fc6")
    ceil_pools: bool = Field(False, description="poolings round their size up, as in Caffe")
    width: int = Field(64, ge=1, description="channels of the first layer, 64 in all publications")


class VGG16Entry(BackboneEntry[VGG16Options]):
    """VGG-16 with a dilated tail of stride 8, in the forms of PSA, the single-stage system and DeepLab."""

    paper = "Chen et al., ICLR 2015"
    pixels = CAFFE
    feature_maps = {"conv3": 4, "conv4": 8, "conv5": 8, "conv6": 8}
    parameters = 20_483_904

    def build(self) -> VGG16:
        """Return the network."""
        o = self.options
        return VGG16(o.width, o.fc6_dilation, o.pool5, o.ceil_pools)


class VGG16(Backbone):
    """VGG-16 with feature maps conv3 (stride 4), conv4, conv5, conv6 (stride 8), each after ReLU and before pooling.

    conv6 is ReLU(fc7), or what follows conv5 if the backbone has no fc6. Sides: n becomes ceil(n / 2) three times.
    """

    stride = 8

    def __init__(
        self, width: int = 64, fc6_dilation: int | None = 1, pool5: Tail = "none", ceil_pools: bool = False
    ) -> None:
        super().__init__()
        channels = 3
        for index, (names, multiple, dilation) in enumerate(_STAGES, 1):
            for name in names:
                out = multiple * width
                self.add_module(name, nn.Conv2d(channels, out, 3, padding=dilation, dilation=dilation))
                channels = out
            if index < len(_STAGES):
                stride = 2 if index <= 3 else 1
                self.add_module(f"pool{index}", nn.MaxPool2d(3, stride, padding=1, ceil_mode=ceil_pools))
        self.pool5 = nn.Identity() if pool5 == "none" else nn.MaxPool2d(3, 1, padding=1)
        self.pool5a = nn.AvgPool2d(3, 1, padding=1) if pool5 == "max_mean" else nn.Identity()
        self.has_fc = fc6_dilation is not None
        last = 16 * width if self.has_fc else channels
        if fc6_dilation is not None:
            self.fc6 = nn.Conv2d(channels, last, 3, padding=fc6_dilation, dilation=fc6_dilation)
            self.drop6 = nn.Dropout2d(0.5)
            self.fc7 = nn.Conv2d(last, last, 1)
        self.feature_maps = {"conv3": 4 * width, "conv4": 8 * width, "conv5": 8 * width, "conv6": last}

    def hub_file(self) -> HubFile:
        """Return torchvision's weights of VGG-16, which fill only the convolutions.

        Raises:
            CheckpointError: this backbone has fc6 and fc7, or another width.
        """
        if self.has_fc or self.feature_maps["conv5"] != 512:
            raise CheckpointError(
                "weights: hub: torchvision's vgg16 has no fc6 and fc7 of 1024 channels; set backbone_options "
                "{fc6_dilation: null, normalization: imagenet}, or use `weights: vgg16_caffe`"
            )
        return torchvision_file("vgg16", self.normalization)

    def from_hub(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return torchvision's tensors under the names of this backbone."""
        return vgg16_names(tensors)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the feature maps (N, feature_maps[name], h, w) by name, from normalised images (N, 3, H, W)."""
        x = images
        maps: dict[str, Tensor] = {}
        for index, (names, _, _) in enumerate(_STAGES, 1):
            for name in names:
                x = F.relu(self.get_submodule(name)(x), inplace=True)
            if f"conv{index}" in self.feature_maps:
                maps[f"conv{index}"] = x
            x = self.get_submodule(f"pool{index}")(x)
        x = self.pool5a(x)
        if self.has_fc:
            x = self.drop6(F.relu(self.fc6(x), inplace=True))
            x = F.relu(self.fc7(x), inplace=True)
        maps["conv6"] = x
        return maps
