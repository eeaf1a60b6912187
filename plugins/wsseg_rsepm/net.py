"""The single-stage network of RecurSeed + EdgePredictMix, and the fusion of its test-time views."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from wsseg_cam.classifier import ClassifierNet

from wsseg_cli.nets.deeplab.v3plus import V3Plus
from wsseg_cli.plugin.backbone import Backbone

Mode = Literal["nearest", "bilinear"]
"""How maps are resized: the released command says nearest, the multi-stage networks bilinear (corners not aligned)."""


@dataclass(frozen=True)
class Outputs:
    """What one forward pass gives.

    Attributes:
        cams: (N, C, h, w) class maps without ReLU.
        class_logits: (N, C), their spatial mean.
        mask_logits: (N, 1+C, h4, w4) of the decoder, background first, a quarter of the image's size.
        features: the backbone's feature maps by name, conv2 to conv6 (the paper's C1 to C5).
    """

    cams: Tensor
    class_logits: Tensor
    mask_logits: Tensor
    features: dict[str, Tensor]


class RsepmNet(ClassifierNet):
    """ResNet-50 with a classifier on its last feature map and a decoder like DeepLab v3+ (Jo, Yu & Kim, 2204.06754).

    Args:
        backbone: a built backbone, ResNet-50 in the publication.
        num_classes: C, without background.
        decoder_width: channels inside ASPP and decoder, 256 as published.
        aspp_dilations: of ASPP's three dilated branches; None: 6, 12, 18, or twice that at stride 8, as published.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        decoder_width: int = 256,
        aspp_dilations: Sequence[int] | None = None,
    ) -> None:
        super().__init__(backbone)
        feature_maps = backbone.feature_maps
        self.classifier = nn.Conv2d(feature_maps["conv6"], num_classes, 1, bias=False)
        dilations = aspp_dilations or ((12, 24, 36) if backbone.stride == 8 else (6, 12, 18))
        self.head = V3Plus(
            feature_maps,
            num_classes + 1,
            dilations=(1, *dilations),
            shortcut=decoder_width,
            classifier_kernel=3,
            classifier_bias=False,
            align_corners=False,
            width=decoder_width,
        )

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (self.classifier, self.head)

    def forward(self, images: Tensor) -> Outputs:
        """Return maps, class logits, mask logits and features of images (N, 3, H, W)."""
        features = self.backbone(images)
        cams = self.classifier(features["conv6"])
        return Outputs(cams, cams.mean((2, 3)), self.head(features), features)


class Decoder(nn.Module):
    """The decoder's logits of a network at the size of its input, as a network of its own.

    Args:
        network: the single-stage network.
    """

    def __init__(self, network: RsepmNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1+C, H, W) of normalised images (N, 3, H, W)."""
        logits = self.network(images).mask_logits
        return F.interpolate(logits, images.shape[-2:], mode="bilinear", align_corners=False)


def resized(maps: Tensor, size: Sequence[int], mode: Mode) -> Tensor:
    """Return (N, D, h, w) maps at `size`; nearest takes index times ratio, rounded down."""
    if tuple(maps.shape[-2:]) == tuple(size):
        return maps
    corners = None if mode == "nearest" else False
    return F.interpolate(maps, size=tuple(size), mode=mode, align_corners=corners)


def view_pairs(image: Tensor, scales: Sequence[float], flip: bool = True) -> Iterator[Tensor]:
    """Yield the views of each scale, (1, 3, h, w), or (2, 3, h, w) with the horizontal flip second.

    image: (3, H, W), normalised; sizes are truncated, the resize is bilinear, corners not aligned.
    """
    height, width = image.shape[1:]
    for scale in scales:
        plain = resized(image[None], (int(height * scale), int(width * scale)), "bilinear")
        yield torch.cat([plain, plain.flip(-1)]) if flip else plain


def turned_back(maps: Tensor) -> Tensor:
    """Return maps of a view and, if there is one, of its horizontal flip, with the second flipped back."""
    return maps if len(maps) == 1 else torch.stack([maps[0], maps[1].flip(-1)])


def _probabilities(logits: Tensor, views: Tensor, size: Sequence[int], mode: Mode) -> Tensor:
    return turned_back(resized(resized(logits.float(), views.shape[-2:], mode).softmax(1), size, mode))


@dataclass(frozen=True)
class Fused:
    """The fused result of all views of one image.

    Attributes:
        class_scores: (C,) mean sigmoid scores.
        probabilities: (1+C, H, W) mean mask probabilities.
        cams: (V, C, h, w) class maps of each view, flipped back, at the size of conv4 of the first.
        features: (1, D, h, w) sums over the views by feature map, at the same size.
    """

    class_scores: Tensor
    probabilities: Tensor
    cams: Tensor
    features: dict[str, Tensor]


@torch.no_grad()
def fused(
    network: RsepmNet,
    image: Tensor,
    scales: Sequence[float] = (1.0, 0.5, 1.5, 2.0),
    flip: bool = True,
    mode: Mode = "nearest",
    features: bool = False,
) -> Fused:
    """Return the fused result of the views of an image (3, H, W), normalised; the first scale fixes all sizes.

    features: add up the feature maps too (they take the most memory).
    """
    scores: list[Tensor] = []
    masks: list[Tensor] = []
    cams: list[Tensor] = []
    sums: dict[str, Tensor] = {}
    size: Sequence[int] = ()
    grid: Sequence[int] = ()
    for views in view_pairs(image, scales, flip):
        out = network(views)
        size = size or views.shape[-2:]
        grid = grid or out.features["conv4"].shape[-2:]
        scores.append(out.class_logits.float().sigmoid())
        masks.extend(_probabilities(out.mask_logits, views, size, mode))
        cams.append(turned_back(resized(out.cams.float(), grid, mode)))
        for feature_map, maps in out.features.items() if features else ():
            added = turned_back(resized(maps.float(), grid, mode)).sum(0, keepdim=True)
            sums[feature_map] = sums[feature_map] + added if feature_map in sums else added
    return Fused(torch.cat(scores).mean(0), torch.stack(masks).mean(0), torch.cat(cams), sums)


def seed(probabilities: Tensor, present: Tensor, size: tuple[int, int], eps: float = 1e-5) -> Tensor:
    """Return the maps (K, H, W) of the present classes, each divided by its own maximum + eps.

    probabilities: (1+C, h, w), background first, which is discarded; present: (C,) bool. So every class that is kept
    has a peak of about 1 somewhere.
    """
    maps = resized(probabilities[None], size, "bilinear")[0, 1:][present]
    return maps / (maps.amax((1, 2), keepdim=True) + eps)
