"""The classifier of PuzzleCAM (Jo & Yu, ICIP 2021): a ResNet and class maps whose spatial mean are the logits."""

from __future__ import annotations

from torch import Tensor, nn
from wsseg_cam.classifier import ClassifierNet

from wsseg_cli.plugin.backbone import Backbone


class PuzzleClassifier(ClassifierNet):
    """A backbone, in the publication a ResNet of stride 16, and a 1x1 convolution to the classes, without bias.

    Args:
        backbone: a built backbone; `frozen: statistics` is the publication's `fix`.
        num_classes: C, without background.
    """

    def __init__(self, backbone: Backbone, num_classes: int) -> None:
        super().__init__(backbone)
        self.classifier = nn.Conv2d(backbone.feature_maps["conv6"], num_classes, 1, bias=False)
        nn.init.kaiming_normal_(self.classifier.weight)

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (self.classifier,)

    def forward(self, images: Tensor) -> Tensor:
        """Return raw class maps (N, C, h, w); their spatial mean are the class logits."""
        return self.classifier(self.backbone(images)["conv6"])
