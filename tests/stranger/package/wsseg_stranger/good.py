"""A method of three convolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.plugin.protocols import Method, PluginOptions, Transform
from wsseg_cli.settings import AugmentSettings, InferSettings
from wsseg_cli.types import ByteArray, Normalization, Progress, ScoreMap


class Stripes(Method):
    """The smallest classifier whose last layer is a map a class."""

    paper = "Nobody, Nowhere 2026"

    class Options(PluginOptions):
        """Options of Stripes."""

        width: int = Field(8, ge=1, description="channels of each convolution")

    @property
    def normalization(self) -> Normalization:
        """Return how the network wants its pixels."""
        return Normalization()

    def build_model(self) -> nn.Module:
        """Return the network."""
        width = self.options.width
        return nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(width, len(self.classes), 1),
        )

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform of classifier training."""
        return classification_transform(augment, normalize=self.normalization)

    def training_step(self, model: nn.Module, batch: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
        """Return the classification loss."""
        return {"cls": multilabel_soft_margin(model(batch["image"]).mean((2, 3)), batch["label"])}

    def scores(
        self, model: nn.Module, image: ByteArray, labels: tuple[int, ...] | None, infer: InferSettings
    ) -> ScoreMap:
        """Return the maps of the given classes, each divided by its maximum."""
        pixels = torch.from_numpy(self.normalization.apply(image)).permute(2, 0, 1)[None]
        classes = np.asarray(labels if labels is not None else range(len(self.classes)), np.int64)
        maps = model(pixels)[0, torch.from_numpy(classes)].relu()
        maps = maps / maps.amax((1, 2), keepdim=True).clamp(min=1e-5)
        return ScoreMap("", classes, maps.numpy(), (image.shape[0], image.shape[1]))
