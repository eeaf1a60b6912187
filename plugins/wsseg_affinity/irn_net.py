"""Boundary and displacement network of IRN (Ahn, Cho & Kwak, CVPR 2019)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from wsseg_cli.plugin.backbone import Backbone
from wsseg_cli.types import Normalization

from .nets import require_feature_maps

FEATURE_MAPS = ("conv2", "conv3", "conv4", "conv5", "conv6")


class Projection(nn.Module):
    """1x1 convolution, group norm, enlargement by an integer factor, ReLU; the enlargement comes before the ReLU.

    Args:
        channels: of the input.
        outputs: channels of the output.
        groups: of the norm.
        factor: of the enlargement, bilinear, corners not aligned.
        eps: of the norm.
    """

    def __init__(self, channels: int, outputs: int, groups: int, factor: int = 1, eps: float = 1e-5) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, outputs, 1, bias=False)
        self.norm = nn.GroupNorm(groups, outputs, eps=eps)
        self.factor = factor

    def forward(self, x: Tensor, like: Tensor | None = None) -> Tensor:
        """Return (N, outputs, factor * h, factor * w), cropped at the right and bottom to the size of `like`."""
        x = self.norm(self.conv(x))
        if self.factor > 1:
            x = F.interpolate(x, scale_factor=self.factor, mode="bilinear", align_corners=False)
        if like is not None:
            x = x[..., : like.shape[-2], : like.shape[-1]]
        return F.relu(x)


class EdgeHead(nn.Module):
    """Class boundaries at a quarter of the image's size, from all five feature maps.

    Args:
        feature_maps: channels of the backbone's feature maps.
        stride: of its last one, 16 in the publication.
        eps: of the group norms.
    """

    def __init__(self, feature_maps: Mapping[str, int], stride: int = 16, eps: float = 1e-5) -> None:
        super().__init__()
        factors = (1, 1, 2, min(stride, 16) // 4, stride // 4)
        self.heads = nn.ModuleList(
            Projection(feature_maps[feature_map], 32, 4, factor, eps)
            for feature_map, factor in zip(FEATURE_MAPS, factors, strict=True)
        )
        self.classifier = nn.Conv2d(5 * 32, 1, 1)

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return edge logits (N, 1, h, w) at the size of conv3."""
        like = features["conv3"]
        return self.classifier(
            torch.cat([head(features[t], like) for head, t in zip(self.heads, FEATURE_MAPS, strict=True)], 1)
        )


class DisplacementHead(nn.Module):
    """Vector from each cell towards its instance's centroid, at a quarter of the image's size; channels dy, dx.

    Args:
        feature_maps: channels of the backbone's feature maps.
        stride: of its last one, 16 in the publication.
    """

    mean: Tensor

    def __init__(self, feature_maps: Mapping[str, int], stride: int = 16) -> None:
        super().__init__()
        fifth, sixth = min(stride, 16) // 8, stride // 8
        shapes = ((64, 8, 1), (128, 16, 1), (256, 16, 1), (256, 16, fifth), (256, 16, sixth))
        self.heads = nn.ModuleList(
            Projection(feature_maps[feature_map], *shape)
            for feature_map, shape in zip(FEATURE_MAPS, shapes, strict=True)
        )
        self.deep = Projection(3 * 256, 256, 16, 2)
        self.mix = Projection(64 + 128 + 256, 256, 16)
        self.field = nn.Conv2d(256, 2, 1, bias=False)
        self.register_buffer("mean", torch.zeros(2))

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        """Return the field as it learns, (N, 2, h, w) in cells at the size of conv3; its mean is not subtracted."""
        first, second, third, *rest = [head(features[t]) for head, t in zip(self.heads, FEATURE_MAPS, strict=True)]
        low = [x[..., : third.shape[-2], : third.shape[-1]] for x in rest]
        deep = self.deep(torch.cat([third, *low], 1), like=second)
        return self.field(self.mix(torch.cat([first, second, deep], 1)))

    def centred(self, field: Tensor) -> Tensor:
        """Return the field with its mean over the data set subtracted, as needed for instances."""
        return field - self.mean[:, None, None]


class IRNet(nn.Module):
    """Boundary and displacement heads on a backbone that never learns, ResNet-50 in the publication.

    Args:
        backbone: a built backbone with the feature maps conv2 to conv6; none of its parameters learns.
        displacement: with the displacement head (IRN); the boundary network of RecurSeed has none.
        eps: of the boundary head's group norms: 1e-5 in IRN, 1e-3 in RecurSeed.

    Raises:
        RecipeError: the backbone lacks one of the feature maps; conv2, before its first stage, is rare.
    """

    def __init__(self, backbone: Backbone, *, displacement: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        require_feature_maps(backbone, FEATURE_MAPS, "IRN's network")
        self.backbone = backbone
        self.edge = EdgeHead(backbone.feature_maps, backbone.stride, eps)
        self.displacement = DisplacementHead(backbone.feature_maps, backbone.stride) if displacement else None

    @property
    def normalization(self) -> Normalization:
        """How the network expects its pixels."""
        return self.backbone.normalization

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return edge logits (N, 1, h, w) and the field (N, 2, h, w) as it learns, at a quarter of the images' size."""
        with torch.no_grad():
            features = self.backbone(images)
        return self.edge(features), None if self.displacement is None else self.displacement(features)

    @torch.no_grad()
    def infer(self, image: Tensor, padded: int = 512) -> tuple[Tensor, Tensor | None]:
        """Return boundary probabilities (1, h, w) and the centred field (2, h, w), h = (H - 1) // 4 + 1.

        image: (3, H, W), normalised. It is padded with zeros at the right and bottom up to `padded` pixels, the
        published size, because the group norms see the padding. A larger image, which IRN would crop, is padded to a
        multiple of 16. The boundary logit is the mean over the image and its horizontal flip, the field that of the
        image.
        """
        height, width = image.shape[1:]
        sides = [max(padded, -(-side // 16) * 16) for side in (height, width)]
        pair = F.pad(torch.stack([image, image.flip(-1)]), (0, sides[1] - width, 0, sides[0] - height))
        h, w = (height - 1) // 4 + 1, (width - 1) // 4 + 1
        logits, field = self(pair)
        logits = logits[..., :h, :w]
        edge = ((logits[0] + logits[1].flip(-1)) / 2).sigmoid()
        if field is None or self.displacement is None:
            return edge, None
        return edge, self.displacement.centred(field[0, :, :h, :w])
