"""The two networks of PPC: SEAM's and EPS's with a projection for the contrast, EPS's also with SEAM's module."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn
from wsseg_cam.classifier import ClassifierNet
from wsseg_seam.net import SeamMaps, SeamNet
from wsseg_seam.pcm import correlation_features, correlation_layers, normalized_cams, revised_cams

from wsseg_cli.nets.class_layer import HeadInit, class_layer
from wsseg_cli.plugin.backbone import Backbone


class PpcSeamNet(SeamNet):
    """SEAM's network with a projection of the last feature map (PPC, Du et al., CVPR 2022, section 3.2).

    The dropout of that map is one draw for classes and projection. Background is channel 0.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        dropout: float = 0.5,
        projection: int = 128,
        head_init: HeadInit = "xavier",
    ) -> None:
        super().__init__(backbone, num_classes, dropout=dropout, head_init=head_init)
        self.fc_proj = nn.Conv2d(backbone.feature_maps["conv6"], projection, 1, bias=False)
        nn.init.xavier_uniform_(self.fc_proj.weight)

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (*super().new_layers, self.fc_proj)

    def project(self, maps: SeamMaps) -> Tensor:
        """Return the projections (N, D, h, w) of the features that `forward` returned: not negative, any length."""
        return F.relu(self.fc_proj(maps.features))


class PpcEpsNet(ClassifierNet):
    """EPS's network with SEAM's correlation module and a projection; background is the last channel.

    Args:
        backbone: the backbone, with the feature maps conv4, conv5 and conv6.
        num_classes: C, without background.
        dropout: of whole channels of the last feature map in training; none as published.
        projection: D, channels of the projection.
        head_init: what the class layer starts from: "xavier" as published, or "zero".
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        dropout: float = 0.0,
        projection: int = 128,
        head_init: HeadInit = "xavier",
    ) -> None:
        super().__init__(backbone)
        channels = backbone.feature_maps["conv6"]
        self.dropout = nn.Dropout2d(dropout)
        self.fc8 = class_layer(channels, num_classes + 1, head_init)
        self.proj_fc = nn.Conv2d(channels, projection, 1, bias=False)
        self.f8_3, self.f8_4, self.f9 = correlation_layers(backbone.feature_maps)
        nn.init.xavier_uniform_(self.proj_fc.weight)

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (self.fc8, self.proj_fc, self.f8_3, self.f8_4, self.f9)

    def forward(self, images: Tensor) -> SeamMaps:
        """Return the class maps, raw and revised, with background last; images: (N, 3, H, W), normalised."""
        maps = self.backbone(images)
        features = self.dropout(maps["conv6"])
        cams = self.fc8(features)
        compared = correlation_features(images, maps, self.f8_3, self.f8_4, (cams.shape[2], cams.shape[3]))
        return SeamMaps(cams, revised_cams(normalized_cams(cams, -1), self.f9(compared)), features)

    def raw_cams(self, images: Tensor) -> Tensor:
        """Return the raw class maps alone, (N, C+1, h, w): all that inference needs."""
        return self.fc8(self.dropout(self.backbone(images)["conv6"]))

    def project(self, maps: SeamMaps) -> Tensor:
        """Return the projections (N, D, h, w) of the features that `forward` returned: not negative, any length."""
        return F.relu(self.proj_fc(maps.features))
