"""AffinityNet: features whose distance tells whether two cells belong to one class (Ahn & Kwak, CVPR 2018)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from wsseg_cli.errors import RecipeError
from wsseg_cli.plugin.backbone import Backbone
from wsseg_cli.types import Normalization

FEATURE_MAPS = ("conv4", "conv5", "conv6")
"""Feature maps that AffinityNet needs from its backbone."""

Norm = Literal["none", "group"]

_EMBEDDED = (64, 128, 256)
_GROUPS = (8, 16, 32)


def require_feature_maps(backbone: Backbone, feature_maps: Iterable[str], network: str) -> None:
    """Check that a built backbone has the feature maps that a network reads.

    Raises:
        RecipeError: it lacks some.
    """
    lacking = [name for name in feature_maps if name not in backbone.feature_maps]
    if lacking:
        raise RecipeError(f"{network} needs the feature maps {', '.join(lacking)}, which its backbone lacks")


class AffinityNet(nn.Module):
    """Three feature maps of a backbone, embedded, joined and mixed into 448 channels.

    Args:
        backbone: its feature maps conv4, conv5 and conv6 are used; sizes that differ are resized to conv6's.
        norm: "group" normalises each embedding (VGG-16), "none" does not (ResNet-38).

    Raises:
        RecipeError: the backbone lacks a feature map, or `norm` is unknown.
    """

    def __init__(self, backbone: Backbone, norm: Norm = "none") -> None:
        super().__init__()
        require_feature_maps(backbone, FEATURE_MAPS, "AffinityNet")
        if norm not in ("none", "group"):
            raise RecipeError(f"unknown value {norm!r} for AffinityNet's norm; expected none or group")
        self.backbone = backbone
        self.norm = norm
        conv4, conv5, conv6 = (backbone.feature_maps[feature_map] for feature_map in FEATURE_MAPS)
        self.f8_3 = nn.Conv2d(conv4, _EMBEDDED[0], 1, bias=False)
        self.f8_4 = nn.Conv2d(conv5, _EMBEDDED[1], 1, bias=False)
        self.f8_5 = nn.Conv2d(conv6, _EMBEDDED[2], 1, bias=False)
        if norm == "group":
            self.gn8_3 = nn.GroupNorm(_GROUPS[0], _EMBEDDED[0])
            self.gn8_4 = nn.GroupNorm(_GROUPS[1], _EMBEDDED[1])
            self.gn8_5 = nn.GroupNorm(_GROUPS[2], _EMBEDDED[2])
        self.f9 = nn.Conv2d(sum(_EMBEDDED), sum(_EMBEDDED), 1, bias=False)
        for layer in (self.f8_3, self.f8_4, self.f8_5):
            nn.init.kaiming_normal_(layer.weight)
        nn.init.xavier_uniform_(self.f9.weight, gain=4)

    @property
    def normalization(self) -> Normalization:
        """How the backbone expects its pixels."""
        return self.backbone.normalization

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers with ten times the learning rate; as published, the group norms of VGG-16 are not among them."""
        return (self.f8_3, self.f8_4, self.f8_5, self.f9)

    def forward(self, images: Tensor) -> Tensor:
        """Return features (N, 448, h, w) at the size of conv6; images: (N, 3, H, W), normalised.

        `wsseg_cli.ops.affinity.feature_affinity` turns them into affinities.
        """
        maps = self.backbone(images)
        size = maps["conv6"].shape[2:]
        embedded = [
            self._embed(name, maps[feature_map], size)
            for name, feature_map in zip(("3", "4", "5"), FEATURE_MAPS, strict=True)
        ]
        return F.elu(self.f9(torch.cat(embedded, 1)))

    def _embed(self, name: str, features: Tensor, size: torch.Size) -> Tensor:
        x = self.get_submodule(f"f8_{name}")(features)
        if self.norm == "group":
            x = self.get_submodule(f"gn8_{name}")(x)
        x = F.elu(x)
        # Never on the published backbones, whose three feature maps have one size.
        return x if x.shape[2:] == size else F.interpolate(x, size, mode="bilinear", align_corners=False)
