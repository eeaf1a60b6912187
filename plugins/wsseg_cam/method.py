"""Plain CAM: a multi-label classifier whose last linear layer is applied at every cell."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from wsseg_cli.ops.cam import STRIDE, multi_scale
from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.plugin.protocols import Batch, Labels, Losses
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ByteArray, Progress, ScoreMap

from .classifier import CamOptions, Classifier
from .net import Activation, CamNet


class PlainCamOptions(CamOptions):
    """Options of plain CAM."""

    activation: Activation = Field("relu", description="of the maps; sqrt_relu as in PSA's VGG-16")
    decay_biases: bool = Field(False, description="weight decay on biases too; true in IRN")
    multiple: int = Field(
        1, ge=1, description="views meet at the image's size rounded up to multiples of this, then are cut; 16 in IRN"
    )


class CAM(Classifier[PlainCamOptions, CamNet]):
    """Class activation maps of a classifier with global average pooling, fused over scales and horizontal flips."""

    paper = "Zhou et al., CVPR 2016, https://arxiv.org/abs/1512.04150; as in PSA, Ahn and Kwak, CVPR 2018"
    gives_strided = True
    sees_windows = True

    def build_model(self) -> CamNet:
        """Return the classifier."""
        o = self.options
        classes = len(self.classes)
        return CamNet(self.backbone(), classes, dropout=o.dropout, head_init=o.head_init, activation=o.activation)

    @property
    def decay_biases(self) -> bool:
        """Whether biases have weight decay too."""
        return self.options.decay_biases

    def training_step(self, model: CamNet, batch: Batch, progress: Progress) -> Losses:
        """Return {"cls": multi-label soft margin loss}."""
        return {"cls": multilabel_soft_margin(model(batch["image"]), batch["label"])}

    def scores(self, model: CamNet, image: ByteArray, labels: Labels, infer: InferSettings) -> ScoreMap:
        """Return the maps of the image's (or the predicted) classes, each divided by its maximum."""
        activation = Tensor.relu if self.options.activation == "relu" else _square_root
        return multi_scale(
            model,
            image,
            labels,
            infer,
            normalization=self.normalization,
            forward=model.raw_cams,
            activation=activation,
            class_threshold=self.options.class_threshold,
            multiple=self.options.multiple,
            stride=STRIDE,
        )


def _square_root(maps: Tensor) -> Tensor:
    return maps.relu().sqrt()
