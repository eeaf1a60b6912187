"""DeepLab as a segmenter: one class, with one entry point per published form."""

from __future__ import annotations

import copy
import difflib
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator
from torch import nn

from wsseg_cli import nets
from wsseg_cli.data.transforms import segmentation_transform
from wsseg_cli.engine.ema import ema_update
from wsseg_cli.nets import deeplab
from wsseg_cli.ops.crf_pixels import restored_pixels
from wsseg_cli.ops.views import multi_scale_logits
from wsseg_cli.plugin.protocols import Batch, Losses, NetworkOptions, ParamGroups, Segmenter, Transform
from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings
from wsseg_cli.types import ByteArray, FloatArray, Normalization, Progress

from .fused import Fused
from .loss import pyramid_losses
from .training import OF_FORM, TRAININGS, BatchNorm, Training, param_groups, set_batch_norm, start_at_zero


class DeepLabOptions(NetworkOptions):
    """Options of DeepLab."""

    backbone: str = Field("resnet101", description="backbone of the network")
    backbone_options: dict[str, Any] = Field({}, description="options of the backbone, in place of the form's")
    form: str | None = Field(None, description="published form of the head; null: the entry point's own")
    training: str | None = Field(
        None,
        description="published training: plain, deeplab_pytorch, caffe, wseg, v3plus, rsepm or puzzlecam; "
        "null: the form's own on a backbone that it was published with, else plain",
    )
    multi_scale: tuple[float, ...] | None = Field(
        None, description="further sizes of each image, fused by the maximum; null: as the training says"
    )
    head_lr_multiplier: float = Field(
        10.0, gt=0, description="learning rate of the head, in multiples of the backbone's"
    )
    head_init: Literal["published", "zero"] = Field(
        "published", description="what the head's last layers start from; zero for few images and steps"
    )
    batch_norm: BatchNorm = Field(
        "published", description="published; frozen: the backbone's stay as loaded; trained: all learn"
    )
    ema: float | None = Field(None, gt=0, lt=1, description="predict with a moving average of this decay")

    @field_validator("form", "training")
    @classmethod
    def _known(cls, value: str | None, info: Any) -> str | None:
        names = list(deeplab.FORMS if info.field_name == "form" else TRAININGS)
        if value is not None and value not in names:
            near = difflib.get_close_matches(value, names, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown {info.field_name} {value!r}{hint} (there are {', '.join(names)})")
        return value

    @field_validator("multi_scale")
    @classmethod
    def _smaller(cls, value: tuple[float, ...] | None) -> tuple[float, ...] | None:
        if any(not 0 < scale < 1 for scale in value or ()):
            raise ValueError(f"expected scales between 0 and 1; the full size is always seen (got {list(value or ())})")
        return value


class DeepLab(Segmenter[DeepLabOptions, deeplab.DeepLab]):
    """A backbone with a DeepLab head, trained with cross-entropy; pixels of value 255 are left out.

    A form on a backbone that it was published with is built, trained and tested as published; on any other backbone the
    form determines only the head, and training and test are `plain`.
    """

    forms: ClassVar[Mapping[str, str]] = {"": "v2"}
    """The form by backbone; "": on all others."""

    @property
    def form(self) -> str:
        """Name of the published form."""
        return str(self.options.form or self.forms.get(self.options.backbone, self.forms[""]))

    @property
    def training(self) -> Training:
        """How the network is trained and tested."""
        published = self.options.backbone in deeplab.FORMS[self.form].backbones
        return TRAININGS[self.options.training or (OF_FORM[self.form] if published else "plain")]

    @property
    def scales(self) -> tuple[float, ...]:
        """Sizes at which the network sees each image besides the image itself."""
        own: tuple[float, ...] | None = self.options.multi_scale
        return self.training.scales if own is None else own

    @property
    def normalization(self) -> Normalization:
        """Return how the network expects its pixels: on the form's own backbones, as the form says."""
        options = deeplab.FORMS[self.form].backbones.get(self.options.backbone, {})
        return nets.normalization(self.options.backbone, **{**options, **self.options.backbone_options})

    def build_model(self) -> deeplab.DeepLab:
        """Return the network; with `ema` its average is in `average`."""
        o = self.options
        model = deeplab.build(self.form, len(self.classes.with_background), o.backbone, **o.backbone_options)
        set_batch_norm(model, model.backbone, o.batch_norm)
        if o.head_init == "zero":
            start_at_zero(model.head)
        if o.ema is not None:
            model.average = copy.deepcopy(model).requires_grad_(False)
        return model

    def param_groups(self, model: deeplab.DeepLab, optim: OptimSettings) -> ParamGroups:
        """Return the groups of the published training."""
        return param_groups(model.backbone, model.head, self.training, self.options.head_lr_multiplier, optim)

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform for learning from masks."""
        return segmentation_transform(augment, normalize=self.normalization)

    def training_step(self, model: deeplab.DeepLab, batch: Batch, progress: Progress) -> Losses:
        """Return {"ce": cross-entropy}; with several scales a term for each, and "ce_max" for their maximum."""
        images, scales = batch["image"], self.scales
        maps = deeplab.pyramid_logits(model, images, scales) if scales else [model(images)]
        names = ["ce", *(f"ce_{scale:g}" for scale in scales), "ce_max"]
        corners = bool(model.align_corners)
        losses = pyramid_losses(maps, batch["mask"], self.training.mask, align_corners=corners)
        return dict(zip(names, losses, strict=False))

    def after_step(self, model: deeplab.DeepLab, progress: Progress) -> None:
        """Move the average, if there is one."""
        if self.options.ema is not None:
            # if it were part of its own network, the average would average itself
            learner = {name: value for name, value in model.named_children() if name != "average"}
            average = {name: getattr(model.average, name) for name in learner}
            ema_update(nn.ModuleDict(average), nn.ModuleDict(learner), progress.step + 1, self.options.ema)

    def network(self, model: deeplab.DeepLab) -> nn.Module:
        """Return the part that predicts, its logits at the size of its input (N, 3, H, W)."""
        return Fused(self._predicting(model), self.scales)

    def logits(self, model: deeplab.DeepLab, image: ByteArray, infer: InferSettings) -> FloatArray:
        """Return the class scores of all views merged, (1+C, H, W), as the published test does it."""
        predicting, scales, corners = self._predicting(model), self.scales, self.training.merge_corners
        return multi_scale_logits(
            model,
            image,
            infer,
            normalization=self.normalization,
            forward=(lambda views: deeplab.pyramid_logits(predicting, views, scales)[-1]) if scales else predicting,
            resize=self.training.views,
            merge=self.training.merge,
            align_corners=predicting.align_corners if corners is None else corners,
        )

    def published_pixels(self, image: ByteArray) -> ByteArray:
        """Return what the network's published code gives its dense CRF, (H, W, 3) uint8."""
        rule = self.training.crf_pixels
        return image if rule is None else restored_pixels(image, self.normalization, rule)

    def _predicting(self, model: deeplab.DeepLab) -> deeplab.DeepLab:
        average = getattr(model, "average", None)
        return average if isinstance(average, deeplab.DeepLab) else model


class DeepLabV1(DeepLab):
    """DeepLab v1, LargeFOV: SEAM's and PPC's with batch norm; on VGG-16 as its authors built it."""

    paper = "Chen et al., ICLR 2015, https://arxiv.org/abs/1412.7062"
    forms = {"": "v1", "vgg16": "v1_vgg16"}


class DeepLabV2(DeepLab):
    """DeepLab v2: parallel dilated convolutions, summed; on ResNet-101 three sizes of each image, fused."""

    paper = "Chen et al., TPAMI 2018, https://arxiv.org/abs/1606.00915"
    forms = {"": "v2", "vgg16": "v2_vgg16"}


class DeepLabV2AsppBN(DeepLab):
    """What PPC's code calls DeepLab v2: an ASPP with batch norm and a branch for the whole image, concatenated."""

    paper = "Du et al., CVPR 2022, https://arxiv.org/abs/2110.07110"
    forms = {"": "v2_aspp_bn"}


class DeepLabV3Plus(DeepLab):
    """DeepLab v3+: ASPP and a decoder that brings in fine features."""

    paper = "Chen et al., ECCV 2018, https://arxiv.org/abs/1802.02611"
    forms = {"": "v3plus"}
