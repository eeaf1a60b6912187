"""The single-stage network: any backbone, ASPP, shallow features through a stochastic gate, masks at the skip's size.

Modules carry the published names.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from wsseg_cam.classifier import ClassifierNet

from wsseg_cli.plugin.backbone import Backbone

ASPP_DILATIONS = (12, 24, 36)
NormRule = Literal["fixed", "learn"]


class OneStageNet(ClassifierNet):
    """Segmentation network whose own softmax masks are pooled into class scores (Araslanov & Roth, CVPR 2020).

    Args:
        backbone: the backbone, with the feature maps conv3 (stride 4) and conv6.
        num_classes: C, without background.
        channels: D of the decoder, 256 as published.
        dilations: of ASPP's three dilated branches; 12, 24, 36 whatever the backbone's stride, as published.
        aspp_norm: "fixed": the batch norms of ASPP keep mean 0 and variance 1 for good and learn only scale and shift,
            as published; "learn": ordinary batch norms.
        psi: share of the shallow features after the stochastic gate.
        background_logit: of the background at every cell.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        *,
        channels: int = 256,
        dilations: Sequence[int] = ASPP_DILATIONS,
        aspp_norm: NormRule = "fixed",
        psi: float = 0.3,
        background_logit: float = 1.0,
    ) -> None:
        super().__init__(backbone)
        shallow, skip = backbone.feature_maps["conv3"], max(1, 48 * channels // 256)
        self.background_logit = background_logit
        self.aspp = ASPP(backbone.feature_maps["conv6"], channels, dilations, aspp_norm)
        self.fc8_skip = nn.Sequential(*_conv_norm(shallow, skip, 1), nn.ReLU(inplace=True))
        self.fc8_x = nn.Sequential(*_conv_norm(channels + skip, channels, 3), nn.ReLU(inplace=True))
        self.shallow_mask = GlobalCue(shallow, channels)
        self.gate = StochasticGate(psi)
        self.last_conv = nn.Sequential(
            *_conv_norm(channels, channels, 3),
            nn.ReLU(inplace=True),
            nn.Dropout(0.5),
            *_conv_norm(channels, channels, 3),
            nn.ReLU(inplace=True),
            nn.Dropout(0.1),
            nn.Conv2d(channels, num_classes, 1),
        )
        for part in self.new_layers:
            for module in part.modules():
                if isinstance(module, nn.Conv2d):
                    nn.init.kaiming_normal_(module.weight)

    @property
    def new_layers(self) -> tuple[nn.Module, ...]:
        """Layers that start at random."""
        return (self.aspp, self.fc8_skip, self.fc8_x, self.shallow_mask, self.last_conv)

    def foreground_logits(self, images: Tensor) -> Tensor:
        """Return the logits of the C classes (N, C, h, w) at the skip's stride; images: (N, 3, H, W), normalised."""
        features = self.backbone(images)
        skip = features["conv3"]
        deep = F.interpolate(self.aspp(features["conv6"]), skip.shape[-2:], mode="bilinear", align_corners=True)
        deep = self.fc8_x(torch.cat([deep, self.fc8_skip(skip)], 1))
        return self.last_conv(self.gate(deep, self.shallow_mask(skip, deep)))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, 1+C, h, w), the constant one of the background first."""
        return prepend_background(self.foreground_logits(images), self.background_logit)


def prepend_background(logits: Tensor, value: float = 1.0) -> Tensor:
    """Return logits (N, 1+C, h, w) with a constant background before the C classes, in float32."""
    background = logits.new_full((logits.shape[0], 1, *logits.shape[-2:]), value, dtype=torch.float32)
    return torch.cat([background, logits.float()], 1)


class ASPP(nn.Module):
    """Parallel dilated convolutions and the image's mean, to `channels` (Chen et al., arXiv 1706.05587)."""

    def __init__(self, inside: int, channels: int, dilations: Sequence[int], norm: NormRule) -> None:
        super().__init__()
        self.aspp1 = Branch(inside, channels, 1)
        self.aspp2, self.aspp3, self.aspp4 = (Branch(inside, channels, 3, dilation) for dilation in dilations)
        self.global_avg_pool = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), *_conv_norm(inside, channels, 1), nn.ReLU(inplace=True)
        )
        self.conv1, self.bn1 = _conv_norm(5 * channels, channels, 1)
        self.dropout = nn.Dropout(0.5)
        self.fixed = norm == "fixed"
        self.train()

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, h, w) of a backbone's last feature map (N, D, h, w)."""
        pooled = self.global_avg_pool(x).expand(-1, -1, *x.shape[-2:])
        branches = (self.aspp1, self.aspp2, self.aspp3, self.aspp4)
        joined = torch.cat([*(branch(x) for branch in branches), pooled], 1)
        return self.dropout(F.relu(self.bn1(self.conv1(joined)), inplace=True))

    def train(self, mode: bool = True) -> ASPP:
        """Set training mode, except for batch norms fixed at mean 0 and variance 1."""
        super().train(mode)
        if self.fixed:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.training = False
        return self


class Branch(nn.Module):
    """One dilated convolution of ASPP with batch norm and ReLU."""

    def __init__(self, inside: int, channels: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.atrous_conv, self.bn = _conv_norm(inside, channels, kernel, dilation)

    def forward(self, x: Tensor) -> Tensor:
        """Return (N, channels, h, w) features, not negative."""
        return F.relu(self.bn(self.atrous_conv(x)), inplace=True)


class GlobalCue(nn.Module):
    """Global cue injection: shallow features scaled and shifted by the image's maximal deep features (GCI)."""

    def __init__(self, shallow: int, channels: int) -> None:
        super().__init__()
        self.fc_deep = nn.Sequential(*_conv_norm(channels, 2 * channels, 1), nn.ReLU(inplace=True))
        self.fc_skip = nn.Sequential(
            nn.Conv2d(shallow, channels, 1, bias=False), nn.BatchNorm2d(channels, affine=False)
        )
        self.fc_cls = nn.Sequential(*_conv_norm(channels, channels, 1), nn.ReLU(inplace=True))

    def forward(self, shallow: Tensor, deep: Tensor) -> Tensor:
        """Return (N, channels, h, w), not negative, of shallow and deep features of one size."""
        gamma, beta = self.fc_deep(deep).amax((2, 3), keepdim=True).chunk(2, 1)
        return self.fc_cls(F.relu(self.fc_skip(shallow) * (gamma + 1) + beta))


class StochasticGate(nn.Module):
    """Deep and shallow features swapped at random in training, blended in inference."""

    def __init__(self, psi: float = 0.3) -> None:
        super().__init__()
        self.psi = psi

    def draw(self, like: Tensor) -> Tensor:
        """Return r of `like`'s shape: 1 with probability 1 - psi for every element, else 0."""
        return (torch.rand_like(like, dtype=torch.float32) >= self.psi).to(like.dtype)

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """Return r d' + (1 - r) g in training, d' = (d - psi g) / (1 - psi); otherwise (1 - psi) d + psi g.

        In training the shallow part cancels out in expectation; in inference it does not, as published.
        """
        if not self.training:
            return (1 - self.psi) * deep + self.psi * shallow
        keep = self.draw(deep)
        return keep * (deep - self.psi * shallow) / (1 - self.psi) + (1 - keep) * shallow


def _conv_norm(inside: int, out: int, kernel: int, dilation: int = 1) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    padding = dilation * (kernel // 2)
    conv = nn.Conv2d(inside, out, kernel, padding=padding, dilation=dilation, bias=False)
    return conv, nn.BatchNorm2d(out)
