"""The classifier of ReCAM (Chen et al., CVPR 2022): one backbone, two class layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from wsseg_cam.classifier import ClassifierNet

from wsseg_cli.nets.class_layer import HeadInit, class_layer
from wsseg_cli.ops.cam import class_activation_maps
from wsseg_cli.ops.pooling import global_average
from wsseg_cli.plugin.backbone import Backbone

from .loss import class_features

ClassWeights = Literal["product", "first", "second", "sum"]

COMBINED: dict[ClassWeights, Callable[[Tensor, Tensor], Tensor]] = {
    "product": torch.mul,
    "first": lambda first, second: first,
    "second": lambda first, second: second,
    "sum": torch.add,
}
"""The weights (C, D, 1, 1) of the maps, from those of the two class layers."""


class ReCAMNet(ClassifierNet):
    """Plain CAM's classifier with a second class layer, on the features under each class's map.

    Args:
        backbone: a built backbone.
        num_classes: C, without background.
        dropout: of whole channels of the last feature map in training, one draw for both layers.
        head_init: what both layers start from. "zero" suits both: the first learns from its own loss, the second as
            soon as the map of an image's class is positive somewhere, and from then on each reaches the other.
    """

    initial_layers = ("fc8", "fc_sce")
    """Loaded along with the backbone where they fit: plain CAM has the first."""

    def __init__(
        self, backbone: Backbone, num_classes: int, *, dropout: float = 0.0, head_init: HeadInit = "uniform"
    ) -> None:
        super().__init__(backbone)
        self.dropout = nn.Dropout2d(dropout)
        self.fc8 = class_layer(backbone.feature_maps["conv6"], num_classes, head_init)
        self.fc_sce = class_layer(backbone.feature_maps["conv6"], num_classes, head_init)

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (self.fc8, self.fc_sce)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class scores (N, C) of the images, and those of the features under each class's map, (N, C, C).

        images: (N, 3, H, W), normalised. The first are for a sigmoid, the second for a softmax over the last axis.
        """
        features = self.dropout(self.backbone(images)["conv6"])
        scores = self.fc8(global_average(features)[:, :, None, None]).flatten(1)
        seen = class_features(features, self.fc8.weight)
        return scores, F.linear(seen, self.fc_sce.weight.flatten(1))

    def raw_cams(self, images: Tensor, weights: ClassWeights = "product") -> Tensor:
        """Return the first layer's maps and then the re-activated ones, (N, 2C, h, w): not rectified, no dropout."""
        first = self.fc8.weight
        both = torch.cat([first, COMBINED[weights](first, self.fc_sce.weight)])
        return class_activation_maps(self.backbone(images)["conv6"], both)
