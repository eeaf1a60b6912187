"""The classifier of EPS: one map for each class and, last, one for background."""

from __future__ import annotations

from torch import Tensor, nn

from wsseg_cli.nets.class_layer import ClassStart, class_layer
from wsseg_cli.nets.trunk import Trunk
from wsseg_cli.types import Normalization


class EpsNet(nn.Module):
    """Classifier whose C+1 class activation maps share out every pixel; background is the last (EPS, section 3.2).

    Args:
        backbone: the trunk.
        num_classes: C, without background.
        dropout: of whole channels of the last feature map in training; none as published.
        class_start: what the class layer starts from: "xavier" as published, or "zero".
    """

    def __init__(
        self, backbone: Trunk, num_classes: int, *, dropout: float = 0.0, class_start: ClassStart = "xavier"
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout2d(dropout)
        self.fc8 = class_layer(backbone.taps["conv6"], num_classes + 1, class_start)

    @property
    def normalization(self) -> Normalization:
        """How the backbone wants its pixels."""
        return self.backbone.normalization

    @property
    def new(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (self.fc8,)

    def forward(self, images: Tensor) -> Tensor:
        """Return raw class activation maps (N, C+1, h, w), background last; images: (N, 3, H, W), normalised."""
        return self.fc8(self.dropout(self.backbone(images)["conv6"]))
