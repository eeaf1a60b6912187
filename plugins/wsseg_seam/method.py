"""SEAM: class activation maps that agree between two sizes of an image, revised by pixel correlation."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor, nn

from wsseg_cli import nets
from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.engine.optim import PSA_MULTIPLIERS, psa_param_groups
from wsseg_cli.errors import TrainingError
from wsseg_cli.nets.class_layer import HeadInit
from wsseg_cli.ops.cam import multi_scale
from wsseg_cli.ops.pooling import global_average
from wsseg_cli.plugin.protocols import Method, PluginOptions, Transform
from wsseg_cli.settings import AugmentSettings, InferSettings, NotNegative, OptimSettings
from wsseg_cli.types import ByteArray, Progress, ScoreMap

from .channels import foreground
from .loss import seam_views
from .net import SeamNet
from .pcm import resized


class SEAM(Method):
    """Self-supervised equivariant attention: two sizes of an image, a pixel correlation module."""

    paper = "Wang et al., CVPR 2020, https://arxiv.org/abs/2004.04581"
    feature_maps = frozenset({"conv4", "conv5", "conv6"})

    class Options(PluginOptions):
        """Options of SEAM."""

        backbone: str = Field("resnet38", description="backbone of the classifier")
        backbone_options: dict[str, Any] = Field({}, description="options of the backbone, such as {output_stride: 16}")
        dropout: float = Field(0.5, ge=0, lt=1, description="channels of the last feature map dropped in training")
        head_init: HeadInit = Field(
            "xavier", description="what the class layer starts from; zero where images and steps are few"
        )
        view_scale: float = Field(0.3, gt=0, le=1, description="size of the second view relative to the crop")
        min_pool: float = Field(0.25, gt=0, le=1, description="share of the pixels that are to hold no class")
        ecr_top: float = Field(0.2, gt=0, le=1, description="share of the differences that ECR counts")
        lr_multipliers: tuple[NotNegative, NotNegative, NotNegative, NotNegative] = Field(
            PSA_MULTIPLIERS,
            description="multiples of the rate: old weights, old biases, new weights, new biases",
        )
        class_threshold: float = Field(0.5, ge=0, le=1, description="score from which a class counts as predicted")

    def build_model(self) -> SeamNet:
        """Return the classifier with its correlation module."""
        o = self.options
        return SeamNet(
            nets.backbone(o.backbone, **o.backbone_options),
            len(self.classes),
            dropout=o.dropout,
            head_init=o.head_init,
        )

    def param_groups(self, model: nn.Module, optim: OptimSettings) -> list[dict[str, Any]]:
        """Return PSA's four groups: old weights, old biases, new weights, new biases, each at its own rate."""
        return psa_param_groups(model, model.new_layers, optim, multipliers=self.options.lr_multipliers)  # type: ignore[arg-type]

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform of classifier training."""
        return classification_transform(augment, normalize=self.normalization)

    def training_step(self, model: nn.Module, batch: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
        """Return {"cls", "rvmin", "er", "ecr"}; their sum is SEAM's loss.

        Raises:
            TrainingError: the crop is too small for a second view.
        """
        o = self.options
        images = batch["image"]
        size = view_size((images.shape[2], images.shape[3]), o.view_scale)
        losses, _ = seam_views(model, images, batch["label"], size, pool=o.min_pool, top=o.ecr_top)
        return losses

    def scores(
        self, model: nn.Module, image: ByteArray, labels: tuple[int, ...] | None, infer: InferSettings
    ) -> ScoreMap:
        """Return the revised maps of the image's (or the predicted) classes, between their minimum and maximum."""
        return revised_scores(
            model,
            image,
            labels,
            infer,
            normalization=self.normalization,
            class_threshold=self.options.class_threshold,
        )


def view_size(size: tuple[int, int], scale: float) -> tuple[int, int]:
    """Return the size of the second view of a crop, rounded down.

    Raises:
        TrainingError: less than one pixel is left.
    """
    height, width = int(size[0] * scale), int(size[1] * scale)
    if min(height, width) < 1:
        raise TrainingError(
            f"a crop of {size[1]}x{size[0]} pixels at view_scale {scale} leaves nothing; give a larger augment.crop"
        )
    return height, width


def revised_scores(
    model: nn.Module,
    image: ByteArray,
    labels: tuple[int, ...] | None,
    infer: InferSettings,
    *,
    normalization: Any,
    class_threshold: float,
) -> ScoreMap:
    """Return the score map of one image from the revised maps of a SeamNet, also of PPC's, fused over the views."""

    def forward(views: Tensor) -> Tensor:
        maps = model(views)
        size = (views.shape[2], views.shape[3])
        revised = resized(foreground(maps.revised), size)
        if labels is not None:
            return revised
        # who predicts the classes needs the raw maps, too: they follow the revised ones
        return torch.cat([revised, resized(foreground(maps.cams), size)], 1)

    def only_revised(maps: Tensor) -> Tensor:
        return maps if labels is not None else maps.chunk(2, 1)[0]

    return multi_scale(
        model,
        image,
        labels,
        infer,
        normalization=normalization,
        forward=forward,
        activation=only_revised,
        logits=lambda maps: global_average(maps.chunk(2, 1)[1]),
        class_threshold=class_threshold,
        norm="min_max",
    )
