"""SC-CAM's network: one feature, a linear layer for the classes and one for their sub-categories."""

from __future__ import annotations

from torch import Tensor, nn
from wsseg_cam.classifier import ClassifierNet

from wsseg_cli.nets.class_layer import HeadInit, class_layer
from wsseg_cli.ops.cam import class_activation_maps
from wsseg_cli.ops.pooling import global_average
from wsseg_cli.plugin.backbone import Backbone


class SubcategoryNet(ClassifierNet):
    """Classifier of C classes and k sub-categories of each (SC-CAM, Chang et al., CVPR 2020, section 3.2).

    Args:
        backbone: a built backbone.
        num_classes: C, without background.
        subcategories: k; sub-category j of class c is channel c*k + j.
        dropout: of whole channels of the last feature map in training.
        head_init: what the two class layers start from: "xavier" as published, or "zero".
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        subcategories: int,
        *,
        dropout: float = 0.5,
        head_init: HeadInit = "xavier",
    ) -> None:
        super().__init__(backbone)
        self.dropout7 = nn.Dropout2d(dropout)
        # The names are those of the published checkpoints, whatever the number of classes.
        self.fc8_20 = class_layer(backbone.feature_maps["conv6"], num_classes, head_init)
        self.fc8_200 = class_layer(backbone.feature_maps["conv6"], num_classes * subcategories, head_init)

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (self.fc8_20, self.fc8_200)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores (N, C) and (N, C*k) before a sigmoid; images: (N, 3, H, W), normalised."""
        feature = global_average(self.dropout7(self.backbone(images)["conv6"]))[:, :, None, None]
        return self.fc8_20(feature).flatten(1), self.fc8_200(feature).flatten(1)

    def raw_cams(self, images: Tensor) -> Tensor:
        """Return the classes' maps, (N, C, h, w): not rectified, no dropout. They are the method's output."""
        return class_activation_maps(self.backbone(images)["conv6"], self.fc8_20.weight)

    def raw_subcategory_cams(self, images: Tensor) -> Tensor:
        """Return the sub-categories' maps, (N, C*k, h, w): not rectified, no dropout; for inspection."""
        return class_activation_maps(self.backbone(images)["conv6"], self.fc8_200.weight)
