"""Plain CAM: a multi-label classifier whose last linear layer is applied at every cell."""

from __future__ import annotations

from typing import Any

from pydantic import Field
from torch import Tensor, nn

from wsseg_cli import nets
from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.engine.optim import PSA_MULTIPLIERS, psa_param_groups
from wsseg_cli.nets.class_layer import HeadInit
from wsseg_cli.ops.cam import STRIDE, multi_scale
from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.plugin.protocols import Method, PluginOptions, Transform
from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings
from wsseg_cli.types import ByteArray, Progress, ScoreMap

from .net import Activation, CamNet


class CAM(Method):
    """Class activation maps of a classifier with global average pooling, fused over scales and horizontal flips."""

    paper = "Zhou et al., CVPR 2016, https://arxiv.org/abs/1512.04150; as in PSA, Ahn and Kwak, CVPR 2018"
    gives_strided = True

    class Options(PluginOptions):
        """Options of plain CAM."""

        backbone: str = Field("resnet38", description="backbone of the classifier")
        backbone_options: dict[str, Any] = Field({}, description="options of the backbone, such as {output_stride: 16}")
        dropout: float = Field(0.5, ge=0, lt=1, description="channels of the last feature map dropped in training")
        head_init: HeadInit = Field(
            "xavier",
            description="what the class layer starts from; uniform in IRN, zero where images and steps are few",
        )
        activation: Activation = Field("relu", description="of the maps; sqrt_relu as PSA's VGG-16")
        lr_multipliers: tuple[float, float, float, float] = Field(
            PSA_MULTIPLIERS,
            description="learning rates of old weights, old biases, new weights, new biases, in multiples",
        )
        decay_biases: bool = Field(False, description="weight decay on biases, too; true in IRN")
        class_threshold: float = Field(0.5, ge=0, le=1, description="score from which a class counts as predicted")
        multiple: int = Field(
            1,
            ge=1,
            description="views meet at the image's size rounded up to multiples of this, then are cut; 16 in IRN",
        )

    def build_model(self) -> CamNet:
        """Return the classifier."""
        o = self.options
        backbone = nets.backbone(o.backbone, **o.backbone_options)
        return CamNet(backbone, len(self.classes), dropout=o.dropout, head_init=o.head_init, activation=o.activation)

    def param_groups(self, model: nn.Module, optim: OptimSettings) -> list[dict[str, Any]]:
        """Return PSA's four groups: old weights, old biases, new weights, new biases, each at its own rate."""
        o = self.options
        new = [model.fc8]
        return psa_param_groups(model, new, optim, multipliers=o.lr_multipliers, decay_biases=o.decay_biases)  # type: ignore[arg-type]

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform of classifier training."""
        return classification_transform(augment, normalize=self.normalization)

    def training_step(self, model: nn.Module, batch: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
        """Return {"cls": multi-label soft margin loss}."""
        return {"cls": multilabel_soft_margin(model(batch["image"]), batch["label"])}

    def scores(
        self, model: nn.Module, image: ByteArray, labels: tuple[int, ...] | None, infer: InferSettings
    ) -> ScoreMap:
        """Return the maps of the image's (or the predicted) classes, each divided by its maximum."""
        activation = Tensor.relu if self.options.activation == "relu" else _square_root
        return multi_scale(
            model,
            image,
            labels,
            infer,
            normalization=self.normalization,
            forward=model.raw_cams,  # type: ignore[arg-type]
            activation=activation,
            class_threshold=self.options.class_threshold,
            multiple=self.options.multiple,
            stride=STRIDE,
        )


def _square_root(maps: Tensor) -> Tensor:
    return maps.relu().sqrt()
