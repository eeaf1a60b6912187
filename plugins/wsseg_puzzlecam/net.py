"""The classifier of PuzzleCAM (Jo & Yu, ICIP 2021): a ResNet and class maps whose spatial mean are the logits."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from wsseg_cli import nets
from wsseg_cli.types import Normalization


class PuzzleClassifier(nn.Module):
    """A ResNet of stride 16 and a 1x1 convolution to the classes, without bias.

    Args:
        num_classes: foreground classes.
        backbone: name of the backbone.
        options: of the backbone; frozen="statistics" is the publication's `fix`.
    """

    def __init__(self, num_classes: int, backbone: str = "resnet50", **options: Any) -> None:
        super().__init__()
        self.backbone = nets.backbone(backbone, **options)
        self.classifier = nn.Conv2d(self.backbone.feature_maps["conv6"], num_classes, 1, bias=False)
        nn.init.kaiming_normal_(self.classifier.weight)

    @property
    def normalization(self) -> Normalization:
        """How the network wants its pixels."""
        return self.backbone.normalization

    def forward(self, images: Tensor) -> Tensor:
        """Return raw class maps (N, C, h, w); their spatial mean are the class logits."""
        return self.classifier(self.backbone(images)["conv6"])
