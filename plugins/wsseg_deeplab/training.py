"""How the published codes train and test their DeepLab, as named settings beyond the recipe's sections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from torch import nn

from wsseg_cli.engine.optim import psa_param_groups
from wsseg_cli.ops.crf_pixels import CrfPixels
from wsseg_cli.ops.views import Merge, ViewResize
from wsseg_cli.plugin.backbone import Backbone
from wsseg_cli.plugin.backbone_entry import Freezing
from wsseg_cli.plugin.protocols import ParamGroups
from wsseg_cli.settings import OptimSettings

MaskRule = Literal["crop", "pillow", "stride"]
BatchNorm = Literal["published", "frozen", "trained"]


@dataclass(frozen=True)
class Training:
    """One published way to train a DeepLab, and to test it on a photo.

    Attributes:
        scales: sizes at which the network sees each image besides the image itself, fused by the maximum.
        mask: where the loss is computed: at the size of the `crop`, or at that of the logits with the mask shrunk by
            Pillow's rule (`pillow`) or by taking every n-th pixel (`stride`).
        fresh: the part that learns faster by `head_lr_multiplier`: the whole head or its classifier alone.
        double_biases: biases learn twice as fast and do not decay.
        views: how the views of a photo are resized.
        merge: how the network's outputs for them are merged.
        merge_corners: whether corners are aligned in merging; None: as in the network.
        crf_pixels: what the published code gives its dense CRF; None: the photo itself.
    """

    scales: tuple[float, ...] = ()
    mask: MaskRule = "crop"
    fresh: Literal["head", "classifier"] = "head"
    double_biases: bool = False
    views: ViewResize = "opencv_cubic"
    merge: Merge = "mean_logits"
    merge_corners: bool | None = None
    crf_pixels: CrfPixels | None = None


TRAININGS: dict[str, Training] = {
    # any backbone and head of ours; from no paper
    "plain": Training(),
    # deeplab-pytorch
    "deeplab_pytorch": Training(scales=(0.5, 0.75), mask="pillow", double_biases=True, crf_pixels="mean_subtracted"),
    # DeepLab v1 and v2 on VGG-16, as their authors trained it in Caffe
    "caffe": Training(mask="stride", fresh="classifier", double_biases=True),
    # DeepLab of SEAM and PPC
    "wseg": Training(double_biases=True, crf_pixels="float32"),
    # v3+ of semantic-segmentation-codebase: weight decay on everything, biases like weights
    "v3plus": Training(fresh="classifier", crf_pixels="float32"),
    # RecurSeed + EdgePredictMix
    "rsepm": Training(
        mask="pillow", views="tensor_bilinear", merge="mean_probabilities", merge_corners=False, crf_pixels="float64"
    ),
    # PuzzleCAM
    "puzzlecam": Training(double_biases=True, views="pillow_bicubic", merge="sum_logits", merge_corners=False),
}
"""Every training by name."""

OF_FORM: dict[str, str] = {
    "v1": "wseg",
    "v1_caffe": "deeplab_pytorch",
    "v1_vgg16": "caffe",
    "v2": "deeplab_pytorch",
    "v2_small": "deeplab_pytorch",
    "v2_vgg16": "caffe",
    "v2_vgg16_small": "caffe",
    "v2_rsepm": "rsepm",
    "v2_aspp_bn": "wseg",
    "v3plus": "v3plus",
    "v3plus_rsepm": "rsepm",
    "v3plus_puzzlecam": "puzzlecam",
}
"""The training that each form of DeepLab was published with."""


def param_groups(
    backbone: nn.Module, head: nn.Module, training: Training, head_lr_multiplier: float, optim: OptimSettings
) -> ParamGroups:
    """Return the optimiser's groups: the backbone at the recipe's rate, new layers at `head_lr_multiplier` times it.

    With `double_biases` there are four: weights and biases of each, biases at twice the rate without decay.
    Parameters that do not learn are in no group.
    """
    fresh = _classifiers(head) if training.fresh == "classifier" else [head]
    if training.double_biases:
        both = nn.ModuleDict({"backbone": backbone, "head": head})
        return psa_param_groups(both, fresh, optim, multipliers=(1.0, 2.0, head_lr_multiplier, 2 * head_lr_multiplier))
    new = {id(p) for module in fresh for p in module.parameters()}
    learning = [p for module in (backbone, head) for p in module.parameters() if p.requires_grad]
    return [
        {"params": [p for p in learning if id(p) not in new], "lr": optim.lr},
        {"params": [p for p in learning if id(p) in new], "lr": optim.lr * head_lr_multiplier},
    ]


def _classifiers(head: nn.Module) -> Sequence[nn.Module]:
    found = [module for name, module in head.named_modules() if name.split(".")[-1] in ("classifier", "fc8")]
    return found or [head]


def start_at_zero(head: nn.Module) -> None:
    """Set the layers that give the logits to zero, in place of the published random start.

    In a short training on few images the random start remains as noise; see `nets.class_layer`.
    """
    for module in _classifiers(head):
        for parameter in module.parameters():
            nn.init.zeros_(parameter)


def set_batch_norm(model: nn.Module, backbone: Backbone, rule: BatchNorm) -> None:
    """Let all batch norms learn, or freeze the backbone's at their initial statistics, scale and shift.

    The published runs of DeepLab v1 on ResNet-38 meant to freeze and did not: their statistics moved.
    """
    if rule == "frozen":
        backbone.freeze(Freezing((), "fixed"))
    elif rule == "trained":
        backbone.freeze(Freezing((), "learn"))
        for module in model.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.requires_grad_(True)
