"""SEAM: class activation maps that agree between two sizes of an image, revised by pixel correlation."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from wsseg_cam.classifier import CamOptions, Classifier

from wsseg_cli.errors import TrainingError
from wsseg_cli.ops.cam import multi_scale
from wsseg_cli.ops.pooling import global_average
from wsseg_cli.plugin.protocols import Batch, Labels, Losses, Requirements
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ByteArray, Normalization, Progress, ScoreMap

from .channels import foreground
from .loss import seam_views
from .net import SeamNet
from .pcm import resized


class SEAMOptions(CamOptions):
    """Options of SEAM."""

    view_scale: float = Field(0.3, gt=0, le=1, description="size of the second view relative to the crop")
    min_pool: float = Field(0.25, gt=0, le=1, description="share of the pixels that are to hold no class")
    ecr_top: float = Field(0.2, gt=0, le=1, description="share of the differences that ECR counts")


class SEAM(Classifier[SEAMOptions, SeamNet]):
    """Self-supervised equivariant attention: two sizes of an image, a pixel correlation module."""

    paper = "Wang et al., CVPR 2020, https://arxiv.org/abs/2004.04581"
    sees_windows = True

    @classmethod
    def requirements(cls, options: SEAMOptions) -> Requirements:
        """Return what it asks for: three feature maps, which the correlation module compares."""
        return Requirements(feature_maps=frozenset({"conv4", "conv5", "conv6"}))

    def build_model(self) -> SeamNet:
        """Return the classifier with its correlation module."""
        o = self.options
        return SeamNet(self.backbone(), len(self.classes), dropout=o.dropout, head_init=o.head_init)

    def training_step(self, model: SeamNet, batch: Batch, progress: Progress) -> Losses:
        """Return {"cls", "rvmin", "er", "ecr"}; their sum is SEAM's loss.

        Raises:
            TrainingError: the crop is too small for a second view.
        """
        o = self.options
        images = batch["image"]
        size = view_size((images.shape[2], images.shape[3]), o.view_scale)
        losses, _ = seam_views(model, images, batch["label"], size, pool=o.min_pool, top=o.ecr_top)
        return losses

    def scores(self, model: SeamNet, image: ByteArray, labels: Labels, infer: InferSettings) -> ScoreMap:
        """Return the revised maps of the image's (or the predicted) classes, min-max normalised."""
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
    labels: Labels,
    infer: InferSettings,
    *,
    normalization: Normalization,
    class_threshold: float,
) -> ScoreMap:
    """Return the score map of one image from the revised maps of a SeamNet, also of PPC's, fused over the views."""

    def forward(views: Tensor) -> Tensor:
        maps = model(views)
        size = (views.shape[2], views.shape[3])
        revised = resized(foreground(maps.revised), size)
        if labels is not None:
            return revised
        # predicting the classes needs the raw maps too: they follow the revised ones
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
