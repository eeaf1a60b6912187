"""What a plugin is: Dataset, Method, Refiner, Segmenter, and the Stage that is handed to them. No torch at import."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from ..errors import PluginError
from ..settings import AugmentSettings, InferSettings, OptimSettings, Settings, TrainSettings
from ..types import ByteArray, ClassNames, FloatArray, Normalization, Progress, Sample, ScoreMap

if TYPE_CHECKING:
    from torch import Tensor, nn

Transform = Callable[[dict[str, Any], np.random.Generator], "dict[str, Tensor]"]
"""(arrays of one sample, its own random generator) -> tensors of one sample; see `Trainable.train_transform`."""

Targets = Mapping[str, Mapping[str, Any]]
"""{name: {image_id: array, or dict of arrays}}: extra per-image training targets, read on demand."""


class PluginOptions(Settings):
    """Base of every plugin's options: a frozen pydantic model that forbids unknown keys."""


@dataclass(frozen=True)
class Stage:
    """What a stage hands to a plugin, and all that a plugin knows of the outside.

    Attributes:
        dir: the stage's own folder; write only here.
        samples: the images to learn from.
        classes: names of the foreground classes.
        settings: one training section of the recipe.
        seed: the recipe's seed.
        cams: score maps of the stage before by image id, read on demand; None in `train-cls`.
        targets: extra per-image targets of this part, {name: {image_id: array}}.
        fingerprint: identifies what is trained here; a finished model of another one is not taken over.
        workers: worker processes for per-image loops of the plugin's own.
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

    def part(self, name: str, targets: Targets | None = None, settings: TrainSettings | None = None) -> Stage:
        """Return this stage in a sub-folder, with extra per-image targets and, if given, other settings."""
        return replace(
            self,
            dir=self.dir / name,
            targets=targets if targets is not None else self.targets,
            settings=settings or self.settings,
            fingerprint=f"{self.fingerprint}/{name}",
        )

    def with_targets(self, targets: Targets) -> Stage:
        """Return this stage, in its own folder, with extra per-image targets."""
        return replace(self, targets=targets)


class Fit(Protocol):
    """The training loop, handed to `train`."""

    def __call__(self, trainable: Trainable, stage: Stage) -> nn.Module:
        """Train in `stage.dir` up to model.safetensors; return the network. What is finished returns at once."""
        ...


class Plugin:
    """Common ground of the four kinds: options, the paper, what the recipe says."""

    Options: ClassVar[type[PluginOptions]] = PluginOptions
    paper: ClassVar[str] = ""

    def __init__(self, options: PluginOptions) -> None:
        self.options: Any = options


class Dataset(Plugin):
    """A data set in some layout. `work` is a folder it may write into (rendered masks, bytes out of archives)."""

    def __init__(self, options: PluginOptions, work: Path) -> None:
        super().__init__(options)
        self.work = work

    def classes(self) -> ClassNames:
        """Return the names of the foreground classes."""
        raise PluginError(f"{type(self).__name__} does not say its classes")

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the samples of split `split`.

        Raises:
            DataError: no such split, or an entry that names nothing.
        """
        raise PluginError(f"{type(self).__name__} has no samples")

    def facts(self) -> dict[str, Any]:
        """Return figures that `prepare` prints and keeps in its report, such as {"saliency IoU": 0.62}."""
        return {}

    def aliases(self, split: str) -> str:
        """Return the name of the split that `split` stands for, by default itself."""
        return split


class Trainable(Plugin):
    """What the training loop needs. The defaults are one parameter group and nothing after a step.

    The network is always the bare one, never a data-parallel wrapper.
    """

    needs: ClassVar[frozenset[str]] = frozenset()
    """Extras of a sample that training reads, such as {"saliency"}."""
    idle_parameters: ClassVar[bool] = False
    """True if some steps leave parts of the network unused."""
    drop_unlabelled: ClassVar[bool] = True
    """True if an image without a label is left out of training, as in every classifier."""

    classes: ClassNames

    def build_model(self) -> nn.Module:
        """Return the network with random weights; the backbone stands under the attribute `backbone`."""
        raise PluginError(f"{type(self).__name__} has no network")

    def param_groups(self, model: nn.Module, optim: OptimSettings) -> list[dict[str, Any]]:
        """Return the optimiser's parameter groups; each may set `lr`, `weight_decay` and others."""
        return [{"params": [p for p in model.parameters() if p.requires_grad]}]

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the function from the arrays of one sample to its tensors.

        In: image (H, W, 3) uint8, label (C,) float32 multi-hot, and what is there of saliency (H, W) uint8, mask (H, W)
        uint8, and each target under "target/<name>". Out: image (3, h, w) float32 normalised, label, saliency (1, h, w)
        in [0, 1], mask (h, w) int64, target/<name>.
        """
        raise PluginError(f"{type(self).__name__} has no train_transform")

    def training_step(self, model: nn.Module, batch: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
        """Return the named, already weighted losses of one batch; the loop adds them up.

        batch: the tensors of `train_transform` stacked, `image_id`: list of N names, `index`: (N,) place in the split.
        """
        raise PluginError(f"{type(self).__name__} has no training_step")

    def published_pixels(self, image: ByteArray) -> ByteArray:
        """Return what the paper's code shows its dense CRF, (H, W, 3) uint8, by default the image itself.

        `crf: {image: published}` asks for it: some codes hand over pixels restored from the network's input.
        """
        return image

    def after_step(self, model: nn.Module, progress: Progress) -> None:
        """Do what follows an optimiser step, such as moving an EMA teacher."""

    @property
    def normalization(self) -> Normalization:
        """Return how the network wants its pixels: by default what belongs to `options.backbone`."""
        from .. import nets

        return nets.normalization(self.options.backbone, **getattr(self.options, "backbone_options", {}))


class Method(Trainable):
    """Learns a classifier from image-level labels and turns it into score maps."""

    feature_maps: ClassVar[frozenset[str]] = frozenset({"conv6"})
    """Feature maps it asks of its backbone."""
    gives_strided: ClassVar[bool] = False
    """True if its score maps bring `ScoreMap.strided`, the second resolution that some refiners begin from."""

    def __init__(self, options: PluginOptions, classes: ClassNames) -> None:
        super().__init__(options)
        self.classes = classes

    def train(self, stage: Stage, fit: Fit) -> None:
        """Train in `stage.dir`; methods with rounds call `fit` for parts first."""
        fit(self, stage)

    def scores(
        self, model: nn.Module, image: ByteArray, labels: tuple[int, ...] | None, infer: InferSettings
    ) -> ScoreMap:
        """Return the score map of one image; its `image_id` is "" and filled in by the stage.

        image: (H, W, 3) uint8 RGB. labels: the image's, or None: the method decides. An empty tuple gives no class.
        """
        raise PluginError(f"{type(self).__name__} has no scores")


class Refiner(Trainable):
    """Makes score maps better. One that learns also fills in the training part and overrides `train`."""

    learns: ClassVar[bool] = False
    """True if it has to be trained; then the recipe needs `refine.train`."""
    wants_strided: ClassVar[bool] = False
    """True if it begins from `ScoreMap.strided`; then `cam` stores it where the method gives it."""

    def __init__(self, options: PluginOptions, classes: ClassNames) -> None:
        super().__init__(options)
        self.classes = classes

    def train(self, stage: Stage, fit: Fit) -> None:
        """Train in `stage.dir`; a refiner that learns nothing does nothing."""

    def refine(
        self,
        model: nn.Module | None,
        image: ByteArray,
        labels: tuple[int, ...] | None,
        coarse: ScoreMap,
        infer: InferSettings,
    ) -> ScoreMap:
        """Return the refined score map of one image. With labels None the classes of `coarse` are kept."""
        raise PluginError(f"{type(self).__name__} does not refine")


class Segmenter(Trainable):
    """Learns per-pixel classes from masks."""

    needs: ClassVar[frozenset[str]] = frozenset({"mask"})
    drop_unlabelled: ClassVar[bool] = False

    def __init__(self, options: PluginOptions, classes: ClassNames) -> None:
        super().__init__(options)
        self.classes = classes

    def train(self, stage: Stage, fit: Fit) -> None:
        """Train in `stage.dir`."""
        fit(self, stage)

    def network(self, model: nn.Module) -> nn.Module:
        """Return the module that `export` writes: normalised images (N, 3, H, W) to class scores (N, 1+C, H, W)."""
        return model

    def logits(self, model: nn.Module, image: ByteArray, infer: InferSettings) -> FloatArray:
        """Return the class scores of one image before softmax, (1+C, H, W) float32, background first."""
        raise PluginError(f"{type(self).__name__} has no logits")
