"""The classifier whose activation maps are the baseline: any backbone, one linear layer."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from wsseg_cli.nets.class_layer import HeadInit, class_layer
from wsseg_cli.ops.cam import class_activation_maps
from wsseg_cli.ops.pooling import global_average
from wsseg_cli.plugin.backbone import Backbone

from .classifier import ClassifierNet

Activation = Literal["relu", "sqrt_relu"]


class CamNet(ClassifierNet):
    """Image classifier with a linear layer on the last feature map (Zhou et al., CVPR 2016).

    Args:
        backbone: a built backbone.
        num_classes: C, without background.
        dropout: of whole channels of the last feature map in training: 0.5 in PSA and its successors, 0 in IRN.
        activation: of the maps in `cams`: "relu", or "sqrt_relu", its square root (PSA on VGG-16).
        head_init: what the class layer starts from: "xavier" as in PSA, "uniform" as in IRN, or "zero".
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        dropout: float = 0.5,
        activation: Activation = "relu",
        head_init: HeadInit = "xavier",
    ) -> None:
        super().__init__(backbone)
        self.dropout = nn.Dropout2d(dropout)
        self.fc8 = class_layer(backbone.feature_maps["conv6"], num_classes, head_init)
        self.activation = activation

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (self.fc8,)

    def forward(self, images: Tensor) -> Tensor:
        """Return class scores (N, C) before a sigmoid; images: (N, 3, H, W), normalised.

        PSA pools before the linear layer on ResNet-38 and after it on VGG-16: the same numbers, cheaper before.
        """
        features = self.dropout(self.backbone(images)["conv6"])
        return self.fc8(global_average(features)[:, :, None, None]).flatten(1)

    def raw_cams(self, images: Tensor) -> Tensor:
        """Return the linear layer on every cell of the last feature map, (N, C, h, w): not rectified, no dropout."""
        return class_activation_maps(self.backbone(images)["conv6"], self.fc8.weight)

    def cams(self, images: Tensor) -> Tensor:
        """Return class activation maps (N, C, h, w), not negative."""
        cams = F.relu(self.raw_cams(images))
        return cams.sqrt() if self.activation == "sqrt_relu" else cams
