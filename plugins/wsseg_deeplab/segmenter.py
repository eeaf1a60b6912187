"""DeepLab as a segmenter: one class, a published form an entry point."""

from __future__ import annotations

from typing import Any, ClassVar

from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from wsseg_cli.data.transforms import segmentation_transform
from wsseg_cli.nets import deeplab
from wsseg_cli.ops.views import multi_scale_logits
from wsseg_cli.protocols import PluginOptions, Segmenter, Transform
from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings
from wsseg_cli.types import ByteArray, FloatArray, Progress

from .loss import mask_cross_entropy


class DeepLab(Segmenter):
    """A trunk with a DeepLab head, trained with cross-entropy; pixels of value 255 are left out."""

    default_form: ClassVar[str] = "v2"

    class Options(PluginOptions):
        """Options of DeepLab."""

        backbone: str = Field("resnet101", description="trunk of the network")
        backbone_options: dict[str, Any] = Field({}, description="options of the trunk, in place of the form's")
        form: str | None = Field(None, description="published form of the head; null: the entry point's own")
        head_rate: float = Field(10.0, gt=0, description="learning rate of the head, in multiples of the trunk's")

    def build_model(self) -> nn.Module:
        """Return the network."""
        o = self.options
        form = o.form or self.default_form
        return deeplab.build(form, len(self.classes.with_background), o.backbone, **o.backbone_options)

    def param_groups(self, model: nn.Module, optim: OptimSettings) -> list[dict[str, Any]]:
        """Return two groups: the trunk at the recipe's rate, the head at `head_rate` times it."""
        trunk = [p for p in model.backbone.parameters() if p.requires_grad]  # type: ignore[union-attr, operator]
        head = [p for p in model.head.parameters() if p.requires_grad]  # type: ignore[union-attr, operator]
        return [{"params": trunk, "lr": optim.lr}, {"params": head, "lr": optim.lr * self.options.head_rate}]

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform of learning from masks."""
        return segmentation_transform(augment, normalize=self.normalization)

    def training_step(self, model: nn.Module, batch: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
        """Return {"ce": cross-entropy at the size of the crop}."""
        logits = model(batch["image"])
        size = batch["mask"].shape[-2:]
        if logits.shape[-2:] != size:
            logits = F.interpolate(logits, size, mode="bilinear", align_corners=model.align_corners)  # type: ignore[arg-type]
        return {"ce": mask_cross_entropy(logits, batch["mask"])}

    def logits(self, model: nn.Module, image: ByteArray, infer: InferSettings) -> FloatArray:
        """Return the mean of the logits over the views, (1+C, H, W)."""
        return multi_scale_logits(model, image, infer, normalization=self.normalization, align_corners=model.align_corners)  # type: ignore[arg-type]


class DeepLabV2(DeepLab):
    """DeepLab v2: parallel dilated convolutions, summed."""

    paper = "Chen et al., TPAMI 2018, https://arxiv.org/abs/1606.00915"


class DeepLabV3Plus(DeepLab):
    """DeepLab v3+: ASPP and a decoder that takes up the fine features."""

    paper = "Chen et al., ECCV 2018, https://arxiv.org/abs/1802.02611"
    default_form = "v3plus"
