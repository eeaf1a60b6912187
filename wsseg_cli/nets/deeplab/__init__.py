"""The DeepLab family in all published forms: `build(form, outputs)` joins a backbone and a head.

A form fixes every detail in which the published code bases differ; options of its backbone can be overridden by name.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ...errors import RecipeError
from ...plugin.backbone import Backbone
from ...types import Normalization
from .. import backbone as build_backbone
from ..resnet import CAFFE_LAYOUT
from .blocks import batch_norm, group_norm, resize
from .multi_scale import pyramid_logits
from .v1 import LargeFOV, PointClassifier, VGGLargeFOV
from .v2 import VGGASPP, NormalisedASPP, SummedASPP
from .v3plus import V3Plus

__all__ = ["FORMS", "DeepLab", "Form", "build", "pyramid_logits"]

Head = Callable[[Backbone, int], nn.Module]


@dataclass(frozen=True)
class Form:
    """One published form: its head, its backbones, and the resizing of its logits.

    Attributes:
        head: makes the head from the backbone and the number of outputs.
        backbones: options of each backbone that the form was published with; the first is the default.
        enlarge: the network's logits have the size of its input; else that of the head's feature map.
        align_corners: for every resize of the logits, in the network and outside.
        fixed_affine: scale and shift of all batch norms are fixed, including the head's.
    """

    head: Head
    backbones: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    enlarge: bool = False
    align_corners: bool = False
    fixed_affine: bool = False


_DEEP_RESNET = {"output_stride": 8, "dilation": "torchvision", "stem": "deep"}
_WANG_RESNET = {**_DEEP_RESNET, "frozen": "deeplab"}
_RSEPM_RESNET = {"output_stride": 8, "dilation": "undilated_first"}
_CAFFE_RESNET = {**CAFFE_LAYOUT, "frozen": "batch_norm"}
_VGG = {"frozen": False, "fc6_dilation": None, "ceil_pools": True}
_STRIDE_8_DILATIONS, _STRIDE_16_DILATIONS = (1, 12, 24, 36), (1, 6, 12, 18)


def _v3plus_wang(backbone: Backbone, outputs: int) -> nn.Module:
    # The rates of stride 16 at stride 8, and the 3x3 shortcut, are as published.
    return V3Plus(
        backbone.feature_maps,
        outputs,
        dilations=_STRIDE_16_DILATIONS,
        shortcut_kernel=3,
        dropouts=(0.0, 0.0),
        norm=batch_norm(3e-4),
    )


def _v3plus_rsepm(backbone: Backbone, outputs: int) -> nn.Module:
    dilations = _STRIDE_8_DILATIONS if backbone.stride == 8 else _STRIDE_16_DILATIONS
    return V3Plus(
        backbone.feature_maps,
        outputs,
        dilations=dilations,
        classifier_kernel=3,
        classifier_bias=False,
        align_corners=False,
    )


def _v3plus_puzzlecam(backbone: Backbone, outputs: int) -> nn.Module:
    dilations = _STRIDE_8_DILATIONS if backbone.stride == 8 else _STRIDE_16_DILATIONS
    return V3Plus(backbone.feature_maps, outputs, dilations=dilations, norm=group_norm(4))


FORMS: dict[str, Form] = {
    # DeepLab of SEAM and PPC: LargeFOV with batch norm
    "v1": Form(
        lambda backbone, outputs: LargeFOV(backbone.feature_maps["conv6"], outputs),
        {"resnet101": _WANG_RESNET, "resnet38": {"frozen": "deeplab", "bn_momentum": 3e-4}},
        enlarge=True,
        align_corners=True,
        fixed_affine=True,
    ),
    # container of the COCO start weights of the DeepLab authors
    "v1_caffe": Form(
        lambda backbone, outputs: PointClassifier(backbone.feature_maps["conv6"], outputs),
        {"resnet101": _CAFFE_RESNET},
        fixed_affine=True,
    ),
    # LargeFOV on VGG-16; the v2 paper trains the same network with its own schedule
    "v1_vgg16": Form(
        lambda backbone, outputs: VGGLargeFOV(backbone.feature_maps["conv6"], outputs),
        {"vgg16": {**_VGG, "pool5": "max_mean"}},
        align_corners=True,
    ),
    # deeplab-pytorch, the DeepLab authors' ResNet-101
    "v2": Form(
        lambda backbone, outputs: SummedASPP(backbone.feature_maps["conv6"], outputs),
        {"resnet101": _CAFFE_RESNET},
        fixed_affine=True,
    ),
    # the same with the small rates of the paper
    "v2_small": Form(
        lambda backbone, outputs: SummedASPP(backbone.feature_maps["conv6"], outputs, dilations=(3, 6, 9, 12)),
        {"resnet101": _CAFFE_RESNET},
        fixed_affine=True,
    ),
    # ASPP-L and ASPP-S on VGG-16
    "v2_vgg16": Form(
        lambda backbone, outputs: VGGASPP(backbone.feature_maps["conv6"], outputs),
        {"vgg16": {**_VGG, "pool5": "max"}},
        align_corners=True,
    ),
    "v2_vgg16_small": Form(
        lambda backbone, outputs: VGGASPP(backbone.feature_maps["conv6"], outputs, dilations=(2, 4, 8, 12)),
        {"vgg16": {**_VGG, "pool5": "max"}},
        align_corners=True,
    ),
    # RecurSeed + EdgePredictMix
    "v2_rsepm": Form(
        lambda backbone, outputs: SummedASPP(backbone.feature_maps["conv6"], outputs, std=None),
        {"resnet101": _RSEPM_RESNET, "resnet50": _RSEPM_RESNET},
    ),
    # what PPC's code calls DeepLab v2
    "v2_aspp_bn": Form(
        lambda backbone, outputs: NormalisedASPP(backbone.feature_maps["conv6"], outputs),
        {"resnet101": _WANG_RESNET},
        enlarge=True,
        align_corners=True,
        fixed_affine=True,
    ),
    # the code base that SEAM's DeepLab comes from
    "v3plus": Form(
        _v3plus_wang, {"resnet101": _DEEP_RESNET, "resnet50": _DEEP_RESNET}, enlarge=True, align_corners=True
    ),
    "v3plus_rsepm": Form(_v3plus_rsepm, {"resnet101": _RSEPM_RESNET, "resnet50": _RSEPM_RESNET}),
    "v3plus_puzzlecam": Form(
        _v3plus_puzzlecam,
        {"resnet50": {"frozen": "statistics"}, "resnet101": {"frozen": "statistics"}},
        enlarge=True,
        align_corners=True,
    ),
}
"""Every published form by name."""


class DeepLab(nn.Module):
    """A backbone, a head on its feature maps, and the resize of the head's logits.

    Attributes:
        align_corners: how logits of this network are resized.
        normalization: normalisation of its input pixels.
    """

    def __init__(self, backbone: Backbone, head: nn.Module, enlarge: bool, align_corners: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.enlarge = enlarge
        self.align_corners = align_corners

    @property
    def normalization(self) -> Normalization:
        """Normalisation of the network's input pixels."""
        return self.backbone.normalization

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, outputs, H, W) or, if the form does not enlarge, (N, outputs, h, w).

        images: (N, 3, H, W), normalised.
        """
        logits = self.head(self.backbone(images))
        return resize(logits, images.shape[-2:], self.align_corners) if self.enlarge else logits


def build(form: str, outputs: int, backbone: str | None = None, **options: Any) -> DeepLab:
    """Return the DeepLab of the published form `form`, without weights.

    outputs: classes and background. backbone: one that the form was published with, as published, or any other with
    these feature maps, with its own defaults; None: the form's first. options: of the backbone, overriding the form's.

    Raises:
        RecipeError: the form, the backbone or an option is unknown.
    """
    if form not in FORMS:
        near = difflib.get_close_matches(form, FORMS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"unknown form of DeepLab {form!r}; there are {', '.join(FORMS)}{hint}")
    entry = FORMS[form]
    name = backbone or next(iter(entry.backbones))
    built = build_backbone(name, **{**entry.backbones.get(name, {}), **options})
    network = DeepLab(built, entry.head(built, outputs), entry.enlarge, entry.align_corners)
    if entry.fixed_affine:
        for module in network.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.requires_grad_(False)
    return network
