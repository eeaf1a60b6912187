"""The classifier of PuzzleCAM (Jo & Yu, ICIP 2021): a ResNet and class maps whose spatial means are the logits."""

from __future__ import annotations

from torch import Tensor, nn
from wsseg_cam.classifier import ClassifierNet

from wsseg_cli.nets.class_layer import HeadInit, class_layer
from wsseg_cli.plugin.backbone import Backbone


class PuzzleClassifier(ClassifierNet):
    """A backbone, in the publication a ResNet of stride 16, and a 1x1 convolution to the classes, without bias.

    Args:
        backbone: a built backbone; `frozen: statistics` is the publication's `fix`.
        num_classes: C, without background.
        head_init: what the convolution starts from, "kaiming" in the publication.
    """

    def __init__(self, backbone: Backbone, num_classes: int, head_init: HeadInit = "kaiming") -> None:
        super().__init__(backbone)
        self.classifier = class_layer(backbone.feature_maps["conv6"], num_classes, head_init)

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (self.classifier,)

    def forward(self, images: Tensor) -> Tensor:
        """Return raw class maps (N, C, h, w); their spatial means are the class logits."""
        return self.classifier(self.backbone(images)["conv6"])
