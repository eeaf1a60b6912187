"""SEAM's network: a classifier with a channel for background, and the pixel correlation module next to it."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn
from wsseg_cam.classifier import ClassifierNet

from wsseg_cli.nets.class_layer import HeadInit, class_layer
from wsseg_cli.plugin.backbone import Backbone

from .pcm import correlation_features, correlation_layers, normalized_cams, revised_cams


class SeamMaps(NamedTuple):
    """The network's outputs for images, at the size (h, w) of its last feature map; background is channel 0.

    Attributes:
        cams: (N, 1+C, h, w) raw class activation maps.
        revised: (N, 1+C, h, w) in [0, 1], from the correlation module. No gradient reaches the backbone through them.
        features: (N, D, h, w), the last feature map after dropout.
    """

    cams: Tensor
    revised: Tensor
    features: Tensor


class SeamNet(ClassifierNet):
    """Classifier with a pixel correlation module (SEAM, Wang et al., CVPR 2020, section 3.3).

    Args:
        backbone: the backbone, with the feature maps conv4, conv5 and conv6.
        num_classes: C, without background.
        dropout: of whole channels of the last feature map in training.
        head_init: what the class layer starts from: "xavier" as published, or "zero".
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, *, dropout: float = 0.5, head_init: HeadInit = "xavier"
    ) -> None:
        super().__init__(backbone)
        self.dropout7 = nn.Dropout2d(dropout)
        self.fc8 = class_layer(backbone.feature_maps["conv6"], 1 + num_classes, head_init)
        self.f8_3, self.f8_4, self.f9 = correlation_layers(backbone.feature_maps)

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (self.f8_3, self.f8_4, self.f9, self.fc8)

    def forward(self, images: Tensor) -> SeamMaps:
        """Return the class maps, raw and revised; images: (N, 3, H, W), normalised."""
        maps = self.backbone(images)
        features = self.dropout7(maps["conv6"])
        cams = self.fc8(features)
        size = (cams.shape[2], cams.shape[3])
        compared = correlation_features(images, maps, self.f8_3, self.f8_4, size)
        return SeamMaps(cams, revised_cams(normalized_cams(cams), self.f9(compared)), features)
