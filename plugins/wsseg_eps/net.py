"""The classifier of EPS: one map for each class and, last, one for background."""

from __future__ import annotations

from torch import Tensor, nn
from wsseg_cam.classifier import ClassifierNet

from wsseg_cli.nets.class_layer import HeadInit, class_layer
from wsseg_cli.plugin.backbone import Backbone


class EpsNet(ClassifierNet):
    """Classifier whose C+1 class activation maps divide up every pixel; background is the last (EPS, section 3.2).

    Args:
        backbone: a built backbone.
        num_classes: C, without background.
        dropout: of whole channels of the last feature map in training; none as published.
        head_init: what the class layer starts from: "xavier" as published, or "zero".
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, *, dropout: float = 0.0, head_init: HeadInit = "xavier"
    ) -> None:
        super().__init__(backbone)
        self.dropout = nn.Dropout2d(dropout)
        self.fc8 = class_layer(backbone.feature_maps["conv6"], num_classes + 1, head_init)

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (self.fc8,)

    def forward(self, images: Tensor) -> Tensor:
        """Return raw class activation maps (N, C+1, h, w), background last; images: (N, 3, H, W), normalised."""
        return self.fc8(self.dropout(self.backbone(images)["conv6"]))
