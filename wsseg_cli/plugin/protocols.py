"""What a plugin is: a Dataset, or one with a network: Method, Refiner, Segmenter. No torch at import."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Generic

from ..errors import PluginError
from ..settings import AugmentSettings, InferSettings, OptimSettings, TrainSettings
from ..types import ByteArray, ClassNames, FloatArray, Normalization, Progress, ScoreMap
from .dataset import Dataset, DatasetOptions
from .mask_refiner import MaskRefiner
from .options import NetworkOptions, OptionsT, Plugin, PluginOptions
from .sources import Sources
from .training_job import (
    Arrays,
    Batch,
    Fit,
    InitialWeights,
    Labels,
    Losses,
    NetworkT,
    ParamGroups,
    Requirements,
    Targets,
    TrainingJob,
    Transform,
    stated,
)

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .backbone import Backbone

__all__ = [
    "Arrays",
    "Batch",
    "Dataset",
    "DatasetOptions",
    "Fit",
    "InitialWeights",
    "Labels",
    "Losses",
    "MaskRefiner",
    "Method",
    "NetworkOptions",
    "NetworkT",
    "OptionsT",
    "ParamGroups",
    "Plugin",
    "PluginOptions",
    "Predictor",
    "Refiner",
    "Requirements",
    "Segmenter",
    "Sources",
    "Targets",
    "Trainable",
    "TrainingJob",
    "Transform",
    "stated",
]


class Trainable(Plugin[OptionsT], Generic[OptionsT, NetworkT]):
    """A plugin with a network. The defaults are one parameter group and nothing after a step.

    The network is always the bare one, never a data-parallel wrapper.
    """

    idle_parameters: ClassVar[bool] = False
    """True if some steps leave parts of the network unused."""
    drop_unlabelled: ClassVar[bool] = True
    """True if images without a label are left out, except negatives if `TrainingJob.keep_unlabelled` says so."""

    def __init__(self, options: OptionsT, classes: ClassNames) -> None:
        super().__init__(options)
        self.classes = classes

    @classmethod
    def requirements(cls, options: OptionsT) -> Requirements:
        """Return what the plugin asks of data, backbone and recipe with these options."""
        return Requirements()

    @property
    def required(self) -> Requirements:
        """What this plugin asks for with its own options."""
        return self.requirements(self.options)

    def build_model(self) -> NetworkT:
        """Return the network with random weights; the backbone is in the attribute `backbone`."""
        raise PluginError(f"{type(self).__name__} does not implement `build_model`")

    def initial_weights(self, settings: TrainSettings | None) -> list[InitialWeights]:
        """Return all weights that this plugin loads before it can be used, to be checked before the first stage.

        settings: the training section, None if there is none. A plugin that loads more, such as by an option of its
        own, adds these.
        """
        return [] if settings is None else [InitialWeights(settings.weights, self.build_model)]

    def missing(self) -> list[str]:
        """Return what the options need and the machine lacks, other than weights, one line each with its remedy.

        It is called before anything is computed, when the class names may still be placeholders.
        """
        return []

    def precompute(self, model: NetworkT) -> Mapping[str, Tensor]:
        """Return buffers by name that depend only on frozen weights, options and classes, such as text features.

        Called once, by `train-cls` of a method that learns nothing: its model file keeps them, and they are put into
        the network whenever it is read. Register them as non-persistent buffers, since they are not weights.
        """
        return {}

    def train(self, job: TrainingJob, fit: Fit) -> None:
        """Train in `job.dir`; plugins with rounds call `fit` for parts first. Not called if nothing is learnt."""
        fit(self, job)

    def param_groups(self, model: NetworkT, optim: OptimSettings) -> ParamGroups:
        """Return the optimiser's parameter groups; each may set `lr`, `weight_decay` and others."""
        return [{"params": [p for p in model.parameters() if p.requires_grad]}]

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the function from the arrays of one sample to its tensors.

        In: image (H, W, 3) uint8, label (C,) float32 multi-hot, and what `requirements` names of saliency (H, W) uint8,
        mask (H, W) uint8 and other extras, "extra/<name>" (H, W) uint8; each target under "target/<name>". Out: image
        (3, h, w) float32 normalised, label, saliency and other extras (1, h, w) in [0, 1], mask (h, w) int64, targets.
        """
        raise PluginError(f"{type(self).__name__} does not implement `train_transform`")

    def training_step(self, model: NetworkT, batch: Batch, progress: Progress) -> Losses:
        """Return the named, already weighted losses of one batch; the loop adds them up.

        batch: the tensors of `train_transform` stacked, `image_id`: list of N names, `index`: (N,) place in the split.
        """
        raise PluginError(f"{type(self).__name__} does not implement `training_step`")

    def published_pixels(self, image: ByteArray) -> ByteArray:
        """Return what the paper's code gives its dense CRF, (H, W, 3) uint8, by default the image itself.

        `crf: {image: published}` asks for it: some codes hand over pixels restored from the network's input.
        """
        return image

    def after_step(self, model: NetworkT, progress: Progress) -> None:
        """Do what follows an optimiser step, such as moving an EMA teacher."""

    def backbone(self, **published: Any) -> Backbone:
        """Return the backbone that the options name, without weights.

        published: options of the backbone, unless `backbone_options` says otherwise.

        Raises:
            PluginError: the options name none. RecipeError: there is no such backbone, it lacks a required feature map,
                or it does not take these options.
        """
        from . import backbones

        options = self._of_backbone()
        chosen = {**published, **options.backbone_options}
        backbones.require_feature_maps(options.backbone, self.required.feature_maps, **chosen)
        return backbones.backbone(options.backbone, **chosen)

    @property
    def normalization(self) -> Normalization:
        """Return how the network expects its pixels: by default as `options.backbone` does."""
        from .backbones import normalization

        options = self._of_backbone()
        return normalization(options.backbone, **options.backbone_options)

    def _of_backbone(self) -> NetworkOptions:
        if not isinstance(self.options, NetworkOptions):
            raise PluginError(
                f"the options of {type(self).__name__} name no backbone: derive them from NetworkOptions, or implement "
                "`build_model` and `normalization` yourself"
            )
        return self.options


class Predictor(Trainable[OptionsT, NetworkT]):
    """A plugin whose network gives a class to every pixel: every segmenter, and single-stage methods.

    `predict`, `eval --what seg` and `export onnx` take its networks.
    """

    def network(self, model: NetworkT) -> nn.Module:
        """Return the module that `export` writes: normalised images (N, 3, H, W) to class scores (N, 1+C, H, W)."""
        return model

    def logits(self, model: NetworkT, image: ByteArray, infer: InferSettings) -> FloatArray:
        """Return the class scores of one image before softmax, (1+C, H, W) float32, background first."""
        raise PluginError(f"{type(self).__name__} does not implement `logits`")


class Method(Trainable[OptionsT, NetworkT]):
    """Learns a classifier from image-level labels and turns it into score maps.

    One that is also a `Predictor` needs no segmentation network after it.
    """

    gives_strided: ClassVar[bool] = False
    """True if its score maps have `ScoreMap.strided`, the second resolution that some refiners start from."""

    sees_windows: ClassVar[bool] = False
    """True if `scores` processes an image larger than `infer.tile` in windows, as `ops.cam.multi_scale` does."""

    @classmethod
    def requirements(cls, options: OptionsT) -> Requirements:
        """Return what it asks for: by default the last feature map of the backbone."""
        return Requirements(feature_maps=frozenset({"conv6"}))

    def scores(
        self, model: NetworkT, image: ByteArray, labels: Labels, infer: InferSettings, *args: Any, **extras: Any
    ) -> ScoreMap:
        """Return the score map of one image; its `image_id` is "" and filled in by the stage.

        image: (H, W, 3) uint8 RGB. labels: the image's, or None: the method decides. An empty tuple gives no class.
        extras: (H, W) uint8 by name, those of `requirements(options).inference`; a method takes what it asks for.
        """
        raise PluginError(f"{type(self).__name__} does not implement `scores`")


class Refiner(Trainable[OptionsT, NetworkT]):
    """Improves score maps. One that learns says so in `requirements` and fills in the training part."""

    @classmethod
    def requirements(cls, options: OptionsT) -> Requirements:
        """Return what it asks for: by default nothing, and nothing is learnt."""
        return Requirements(trains=False)

    def refine(
        self,
        model: NetworkT | None,
        image: ByteArray,
        labels: Labels,
        coarse: ScoreMap,
        infer: InferSettings,
        *args: Any,
        **extras: Any,
    ) -> ScoreMap:
        """Return the refined score map of one image. With labels None the classes of `coarse` are kept.

        model: the trained network; None where nothing is learnt. extras: as in `Method.scores`.
        """
        raise PluginError(f"{type(self).__name__} does not implement `refine`")


class Segmenter(Predictor[OptionsT, NetworkT]):
    """Learns per-pixel classes from masks."""

    drop_unlabelled: ClassVar[bool] = False

    @classmethod
    def requirements(cls, options: OptionsT) -> Requirements:
        """Return what it asks for: masks."""
        return Requirements(training=frozenset({"mask"}))
