"""The classifier of EPS: one map for each class and, last, one for background."""

from __future__ import annotations

from torch import Tensor, nn

from wsseg_cli.nets.trunk import Trunk
from wsseg_cli.types import Normalization


class EpsNet(nn.Module):
    """Classifier whose C+1 class activation maps share out every pixel; background is the last (EPS, section 3.2).

    Args:
        backbone: the trunk.
        num_classes: C, without background.
        dropout: of whole channels of the last feature map in training; none as published.
    """

    def __init__(self, backbone: Trunk, num_classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.backbone = backbone
        self.dropout = nn.Dropout2d(dropout)
        self.fc8 = nn.Conv2d(backbone.taps["conv6"], num_classes + 1, 1, bias=False)
        nn.init.xavier_uniform_(self.fc8.weight)

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
