"""What plugins may import. The contract, by name: `from wsseg_cli.plugin import Method, ScoreMap, …`; and the modules
in `MODULES`, whose public names do not change from one release to the next. No torch until a name needs it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import CheckpointError, DataError, PluginError, RecipeError, TrainingError
from ..settings import (
    AugmentSettings,
    Count,
    CrfSettings,
    InferSettings,
    LrMultipliers,
    NotNegative,
    OptimSettings,
    Positive,
    PositiveShare,
    Share,
    TrainSettings,
)
from ..types import (
    IGNORE,
    IMAGENET,
    ByteArray,
    ClassNames,
    FloatArray,
    HubFile,
    IntArray,
    Json,
    Normalization,
    Progress,
    Sample,
    ScoreMap,
    means_no_class,
    resize_scores,
)
from .backbone_entry import BackboneEntry, BackboneOptions, Freezing
from .protocols import (
    Arrays,
    Batch,
    Dataset,
    DatasetOptions,
    Fit,
    InitialWeights,
    Labels,
    Losses,
    MaskRefiner,
    Method,
    NetworkOptions,
    NetworkT,
    OptionsT,
    ParamGroups,
    PluginOptions,
    Predictor,
    Refiner,
    Requirements,
    Segmenter,
    Targets,
    Trainable,
    TrainingJob,
    Transform,
)
from .sources import Sources

if TYPE_CHECKING:
    from ..data.transforms import classification_transform, segmentation_transform
    from ..ops.cam import multi_scale
    from ..ops.losses import multilabel_soft_margin
    from ..ops.views import multi_scale_logits
    from .backbone import Backbone, TokenBackbone, Tokens

NEED_TORCH: dict[str, str] = {
    "Backbone": "wsseg_cli.plugin.backbone",
    "TokenBackbone": "wsseg_cli.plugin.backbone",
    "Tokens": "wsseg_cli.plugin.backbone",
    "classification_transform": "wsseg_cli.data.transforms",
    "multi_scale": "wsseg_cli.ops.cam",
    "multi_scale_logits": "wsseg_cli.ops.views",
    "multilabel_soft_margin": "wsseg_cli.ops.losses",
    "segmentation_transform": "wsseg_cli.data.transforms",
}
"""Names that are imported on request, and their modules."""

MODULES: dict[str, str] = {
    "wsseg_cli.nets": "backbones, DeepLab's heads, class layers, batch norms folded for inference",
    "wsseg_cli.ops": "class activation maps, views, resizing, losses, CRF, PAMR, affinities, random walks, masks",
    "wsseg_cli.data": "images, masks, stores of score maps and masks, joint augmentation, tables of labels",
    "wsseg_cli.engine": "loops over images, processes, checkpoints, moving averages, parameter groups",
    "wsseg_cli.disk": "files read with a clear error and written whole or not at all",
    "wsseg_cli.foreign": "files of other projects",
}
"""Modules with building blocks, and what they hold; a plugin may import what is public in them and below."""

__all__ = [
    "IGNORE",
    "IMAGENET",
    "MODULES",
    "Arrays",
    "AugmentSettings",
    "Backbone",
    "BackboneEntry",
    "BackboneOptions",
    "Batch",
    "ByteArray",
    "CheckpointError",
    "ClassNames",
    "Count",
    "CrfSettings",
    "DataError",
    "Dataset",
    "DatasetOptions",
    "Fit",
    "FloatArray",
    "Freezing",
    "HubFile",
    "InferSettings",
    "InitialWeights",
    "IntArray",
    "Json",
    "Labels",
    "Losses",
    "LrMultipliers",
    "MaskRefiner",
    "Method",
    "NetworkOptions",
    "NetworkT",
    "Normalization",
    "NotNegative",
    "OptimSettings",
    "OptionsT",
    "ParamGroups",
    "PluginError",
    "PluginOptions",
    "Positive",
    "PositiveShare",
    "Predictor",
    "Progress",
    "RecipeError",
    "Refiner",
    "Requirements",
    "Sample",
    "ScoreMap",
    "Segmenter",
    "Share",
    "Sources",
    "Targets",
    "TokenBackbone",
    "Tokens",
    "TrainSettings",
    "Trainable",
    "TrainingError",
    "TrainingJob",
    "Transform",
    "classification_transform",
    "means_no_class",
    "multi_scale",
    "multi_scale_logits",
    "multilabel_soft_margin",
    "resize_scores",
    "segmentation_transform",
]


def __getattr__(name: str) -> Any:
    """Return a name that needs torch, imported now."""
    if name not in NEED_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(NEED_TORCH[name]), name)
