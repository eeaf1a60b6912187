"""What a plugin is: Dataset, Method, Refiner, Segmenter, and what is handed to them. No torch at import."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Protocol, TypeVar, get_args

import numpy as np
from pydantic import Field, field_validator

from ..errors import DataError, PluginError
from ..settings import AugmentSettings, InferSettings, OptimSettings, Settings, TrainSettings
from ..types import ByteArray, ClassNames, FloatArray, Json, Normalization, Progress, Sample, ScoreMap

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .backbone import Backbone

Arrays = dict[str, Any]
"""What is read of one sample, by name; see `Trainable.train_transform`."""

Batch = dict[str, Any]
"""What one training step sees: tensors by name, stacked over N images, and `image_id`, a list of N names."""

Losses = dict[str, "Tensor"]
"""Named scalar losses, already weighted; the training loop adds them up."""

ParamGroups = list[dict[str, Any]]
"""The optimiser's parameter groups, `params` and what differs from the recipe's `optim` (`lr`, `weight_decay`)."""

Transform = Callable[[Arrays, np.random.Generator], "dict[str, Tensor]"]
"""(arrays of one sample, its own random generator) -> tensors of one sample; see `Trainable.train_transform`."""

Targets = Mapping[str, Mapping[str, Any]]
"""{name: {image_id: array, or dict of arrays}}: extra per-image training targets, read on demand."""

Labels = tuple[int, ...] | None
"""The classes of an image counted from 0, ascending; None: not given, the plugin decides."""


class PluginOptions(Settings):
    """Base of every plugin's options: a frozen pydantic model that forbids unknown keys."""


class NetworkOptions(PluginOptions):
    """Options of a plugin whose network stands on a backbone."""

    backbone: str = Field(description="backbone of the network")
    backbone_options: dict[str, Any] = Field({}, description="options of the backbone, such as {output_stride: 16}")


class DatasetOptions(PluginOptions):
    """Options of every data set."""

    extras: dict[str, Path] = Field(
        {}, description="folders of further maps of each image by name, ID.png, as {depth: maps/depth}; beside saliency"
    )

    @field_validator("extras")
    @classmethod
    def _names(cls, extras: dict[str, Path]) -> dict[str, Path]:
        for name in extras:
            if not name.isidentifier() or name in ("image", "label", "labels", "mask", "saliency", "infer", "model"):
                raise ValueError(f"{name!r} cannot name an extra: a word of its own, letters, digits and '_'")
        return extras


@dataclass(frozen=True)
class Requirements:
    """What a plugin asks for, with the options that it is given.

    Attributes:
        training: what training reads of a sample beside image and labels: "mask", and extras such as "saliency".
        inference: extras that `scores` or `refine` reads; each is handed over as a keyword argument, (H, W) uint8.
        feature_maps: feature maps that the backbone must have.
        trains: False if nothing is learnt; then the recipe's section has no training keys.
        gradients: True if `scores` or `refine` differentiates its network, as gradient-weighted CAMs do.
        strided: True if `refine` begins from `ScoreMap.strided`; then `cam` stores it where the method gives it.
    """

    training: frozenset[str] = frozenset()
    inference: frozenset[str] = frozenset()
    feature_maps: frozenset[str] = frozenset()
    trains: bool = True
    gradients: bool = False
    strided: bool = False

    @property
    def extras(self) -> frozenset[str]:
        """Extras of a sample that are read at all."""
        return (self.training | self.inference) - {"mask"}


def stated(extras: Iterable[str]) -> str:
    """Return the supervision of a system as tables state it: I for image labels, S for saliency, others by name."""
    return "+".join(["I", *sorted("S" if name == "saliency" else name for name in extras)])


@dataclass(frozen=True)
class TrainingJob:
    """One training as it is handed to a plugin, and all that a plugin knows of the outside.

    Attributes:
        dir: the job's own folder; write only here.
        samples: the images to learn from.
        classes: names of the foreground classes.
        settings: one training section of the recipe.
        seed: the recipe's seed.
        cams: score maps of the stage before by image id, read on demand; None in `train-cls`.
        targets: extra per-image targets of this part, {name: {image_id: array}}.
        fingerprint: identifies what is trained here; a finished model of another one is not taken over.
        workers: worker processes for per-image loops of the plugin's own.
        keep_unlabelled: images that are known to show none of the classes are learnt from, as negatives.
    """

    dir: Path
    samples: Sequence[Sample]
    classes: ClassNames
    settings: TrainSettings
    seed: int = 0
    cams: Mapping[str, ScoreMap] | None = None
    targets: Targets = field(default_factory=dict)
    fingerprint: str = ""
    workers: int = 0
    keep_unlabelled: bool = False

    def part(self, name: str, targets: Targets | None = None, settings: TrainSettings | None = None) -> TrainingJob:
        """Return this job in a sub-folder, with extra per-image targets and, if given, other settings."""
        return replace(
            self,
            dir=self.dir / name,
            targets=targets if targets is not None else self.targets,
            settings=settings or self.settings,
            fingerprint=f"{self.fingerprint}/{name}",
        )

    def with_targets(self, targets: Targets) -> TrainingJob:
        """Return this job, in its own folder, with extra per-image targets."""
        return replace(self, targets=targets)


OptionsT = TypeVar("OptionsT", bound=PluginOptions)
NetworkT = TypeVar("NetworkT", bound="nn.Module")


@dataclass(frozen=True)
class InitialWeights:
    """Weights that a training starts from, and the network that they go into.

    Attributes:
        weights: as a recipe names them.
        network: builds it, with random numbers.
        option: the plugin's option that names them; "": `weights` of the training section.
    """

    weights: str
    network: Callable[[], nn.Module]
    option: str = ""


class Fit(Protocol):
    """The training loop, handed to `train`."""

    def __call__(self, trainable: Trainable[Any, NetworkT], job: TrainingJob) -> NetworkT:
        """Train in `job.dir` up to model.safetensors; return the network. What is finished returns at once."""
        ...


class Plugin(Generic[OptionsT]):
    """Common ground of the four kinds: options, the paper, what the recipe says.

    `class Mine(Method[MineOptions, MineNet])` says the type of its options, and thereby what a recipe may hold.
    """

    Options: ClassVar[type[PluginOptions]] = PluginOptions
    paper: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "Options" not in vars(cls):
            for base in vars(cls).get("__orig_bases__", ()):
                for given in get_args(base):
                    if isinstance(given, type) and issubclass(given, PluginOptions):
                        cls.Options = given

    def __init__(self, options: OptionsT) -> None:
        self.options = options


class Dataset(Plugin[OptionsT]):
    """A data set in some layout. `work` is a folder it may write into (rendered masks, bytes out of archives)."""

    def __init__(self, options: OptionsT, work: Path) -> None:
        super().__init__(options)
        self.work = work
        self.bad: dict[str, str] | None = None
        """Where `leave_out` collects entries that cannot be used, by name, with the reason; None: it raises."""

    def leave_out(self, entry: str, reason: str) -> None:
        """Say that an entry of the data set cannot be used: `prepare` names all of them at once, or goes on without.

        entry: the image's id, or whatever names the entry.

        Raises:
            DataError: nobody collects.
        """
        if self.bad is None:
            raise DataError(reason)
        self.bad[entry] = reason

    def classes(self) -> ClassNames:
        """Return the names of the foreground classes."""
        raise PluginError(f"{type(self).__name__} does not say its classes")

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the samples of split `split`; a single entry that cannot be used goes to `leave_out`.

        Raises:
            DataError: no such split, or nothing of it can be read.
        """
        raise PluginError(f"{type(self).__name__} has no samples")

    def missing(self, splits: Sequence[str]) -> list[str]:
        """Return what is not there of the folders and files that these splits need, a line each; opens no photo.

        It is asked before anything is computed, so it answers in seconds. The default looks for absolute paths among
        the options.
        """
        named = {name: getattr(self.options, name) for name in type(self.options).model_fields}
        paths = {name: value.expanduser() for name, value in named.items() if isinstance(value, Path)}
        return [
            f"{name}: no such file or folder {p}" for name, p in paths.items() if p.is_absolute() and not p.exists()
        ]

    def extra_folders(self) -> dict[str, Path]:
        """Return the folders of the option `extras` by name; relative ones count from the option `root`, if any.

        Raises:
            DataError: there is no such folder.
        """
        named: Mapping[str, Path] = getattr(self.options, "extras", {})
        root = Path(getattr(self.options, "root", "")).expanduser()
        folders = {name: root / folder.expanduser() for name, folder in named.items()}
        for name, folder in folders.items():
            if not folder.is_dir():
                raise DataError(f"no folder {folder}; set the data set's option `extras.{name}`")
        return folders

    def facts(self) -> Json:
        """Return figures that `prepare` prints and keeps in its report, such as {"saliency IoU": 0.62}."""
        return {}


class Trainable(Plugin[OptionsT], Generic[OptionsT, NetworkT]):
    """A plugin with a network. The defaults are one parameter group and nothing after a step.

    The network is always the bare one, never a data-parallel wrapper.
    """

    idle_parameters: ClassVar[bool] = False
    """True if some steps leave parts of the network unused."""
    drop_unlabelled: ClassVar[bool] = True
    """True if images without a label are left out, except negatives where `TrainingJob.keep_unlabelled` says so."""

    def __init__(self, options: OptionsT, classes: ClassNames) -> None:
        super().__init__(options)
        self.classes = classes

    @classmethod
    def requirements(cls, options: OptionsT) -> Requirements:
        """Return what is asked of data, backbone and recipe with these options."""
        return Requirements()

    @property
    def required(self) -> Requirements:
        """What is asked with the options of this very plugin."""
        return self.requirements(self.options)

    def build_model(self) -> NetworkT:
        """Return the network with random weights; the backbone stands under the attribute `backbone`."""
        raise PluginError(f"{type(self).__name__} has no network")

    def initial_weights(self, settings: TrainSettings | None) -> list[InitialWeights]:
        """Return all weights that are loaded before this plugin is of use, for a look at them before the first stage.

        settings: the training section, None where there is none. A plugin that loads more, as by an option of its own,
        adds these.
        """
        return [] if settings is None else [InitialWeights(settings.weights, self.build_model)]

    def missing(self) -> list[str]:
        """Return what the machine lacks of what the options ask for, beside weights, a line each with its remedy.

        It is asked before anything is computed. The names of the classes may be stand-ins then.
        """
        return []

    def precompute(self, model: NetworkT) -> Mapping[str, Tensor]:
        """Return buffers by name that follow from frozen weights, options and classes alone, such as texts' features.

        Asked once, by `train-cls` of a method that learns nothing: its model file keeps them, and they are put into the
        network whenever it is read. Register them as buffers that are not persistent, as they are no weights.
        """
        return {}

    def train(self, job: TrainingJob, fit: Fit) -> None:
        """Train in `job.dir`; plugins with rounds call `fit` for parts first. Not called where nothing is learnt."""
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
        raise PluginError(f"{type(self).__name__} has no train_transform")

    def training_step(self, model: NetworkT, batch: Batch, progress: Progress) -> Losses:
        """Return the named, already weighted losses of one batch; the loop adds them up.

        batch: the tensors of `train_transform` stacked, `image_id`: list of N names, `index`: (N,) place in the split.
        """
        raise PluginError(f"{type(self).__name__} has no training_step")

    def published_pixels(self, image: ByteArray) -> ByteArray:
        """Return what the paper's code shows its dense CRF, (H, W, 3) uint8, by default the image itself.

        `crf: {image: published}` asks for it: some codes hand over pixels restored from the network's input.
        """
        return image

    def after_step(self, model: NetworkT, progress: Progress) -> None:
        """Do what follows an optimiser step, such as moving an EMA teacher."""

    def backbone(self, **published: Any) -> Backbone:
        """Return the backbone that the options name, without weights.

        published: options of the backbone where `backbone_options` says nothing else.

        Raises:
            PluginError: the options name none. RecipeError: no such backbone, it lacks a feature map that is required,
                or it does not take these options.
        """
        from . import backbones

        options = self._of_backbone()
        chosen = {**published, **options.backbone_options}
        backbones.require_feature_maps(options.backbone, self.required.feature_maps, **chosen)
        return backbones.backbone(options.backbone, **chosen)

    @property
    def normalization(self) -> Normalization:
        """Return how the network wants its pixels: by default what belongs to `options.backbone`."""
        from .backbones import normalization

        options = self._of_backbone()
        return normalization(options.backbone, **options.backbone_options)

    def _of_backbone(self) -> NetworkOptions:
        if not isinstance(self.options, NetworkOptions):
            raise PluginError(
                f"the options of {type(self).__name__} name no backbone: derive them from NetworkOptions, or say "
                "`build_model` and `normalization` yourself"
            )
        return self.options


class Predictor(Trainable[OptionsT, NetworkT]):
    """A plugin whose network gives a class to every pixel: every segmenter, and methods of a single stage.

    `predict`, `eval --what seg` and `export onnx` take its networks.
    """

    def network(self, model: NetworkT) -> nn.Module:
        """Return the module that `export` writes: normalised images (N, 3, H, W) to class scores (N, 1+C, H, W)."""
        return model

    def logits(self, model: NetworkT, image: ByteArray, infer: InferSettings) -> FloatArray:
        """Return the class scores of one image before softmax, (1+C, H, W) float32, background first."""
        raise PluginError(f"{type(self).__name__} has no logits")


class Method(Trainable[OptionsT, NetworkT]):
    """Learns a classifier from image-level labels and turns it into score maps.

    One that also is a `Predictor` needs no segmentation network after it.
    """

    gives_strided: ClassVar[bool] = False
    """True if its score maps bring `ScoreMap.strided`, the second resolution that some refiners begin from."""

    @classmethod
    def requirements(cls, options: OptionsT) -> Requirements:
        """Return what is asked: by default the last feature map of the backbone."""
        return Requirements(feature_maps=frozenset({"conv6"}))

    def scores(
        self, model: NetworkT, image: ByteArray, labels: Labels, infer: InferSettings, *args: Any, **extras: Any
    ) -> ScoreMap:
        """Return the score map of one image; its `image_id` is "" and filled in by the stage.

        image: (H, W, 3) uint8 RGB. labels: the image's, or None: the method decides. An empty tuple gives no class.
        extras: (H, W) uint8 by name, those of `requirements(options).inference`; a method takes what it asks for.
        """
        raise PluginError(f"{type(self).__name__} has no scores")


class Refiner(Trainable[OptionsT, NetworkT]):
    """Makes score maps better. One that learns says so in `requirements` and fills in the training part."""

    @classmethod
    def requirements(cls, options: OptionsT) -> Requirements:
        """Return what is asked: by default nothing, and nothing is learnt."""
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
        raise PluginError(f"{type(self).__name__} does not refine")


class Segmenter(Predictor[OptionsT, NetworkT]):
    """Learns per-pixel classes from masks."""

    drop_unlabelled: ClassVar[bool] = False

    @classmethod
    def requirements(cls, options: OptionsT) -> Requirements:
        """Return what is asked: masks."""
        return Requirements(training=frozenset({"mask"}))
