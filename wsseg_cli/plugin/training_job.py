"""What is handed to a plugin and what it hands back: requirements, batches, one training. No torch at import."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..settings import TrainSettings
from ..types import ClassNames, Sample, ScoreMap

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

    from .protocols import Trainable

NetworkT = TypeVar("NetworkT", bound="nn.Module")

Arrays = dict[str, Any]
"""What is read of one sample, by name; see `Trainable.train_transform`."""

Batch = dict[str, Any]
"""What one training step sees: tensors by name, stacked over N images, and `image_id`, a list of N names."""

Losses = dict[str, "Tensor"]
"""Named scalar losses, already weighted; the training loop adds them up."""

ParamGroups = list[dict[str, Any]]
"""The optimiser's parameter groups, `params` and what differs from the recipe's `optim` (`lr`, `weight_decay`)."""

Transform = Callable[[Arrays, "np.random.Generator"], "dict[str, Tensor]"]
"""(arrays of one sample, its own random generator) -> tensors of one sample; see `Trainable.train_transform`."""

Targets = Mapping[str, Mapping[str, Any]]
"""{name: {image_id: array, or dict of arrays}}: extra per-image training targets, read on demand."""

Labels = tuple[int, ...] | None
"""The classes of an image counted from 0, ascending; None: not given, the plugin decides."""


@dataclass(frozen=True)
class Requirements:
    """What a plugin asks for with given options.

    Attributes:
        training: what training reads of a sample besides image and labels: "mask", and extras such as "saliency".
        inference: extras that `scores` or `refine` reads; each is handed over as a keyword argument, (H, W) uint8.
        feature_maps: feature maps that the backbone must have.
        trains: False if nothing is learnt; then the recipe's section has no training keys.
        gradients: True if `scores` or `refine` differentiates its network, as gradient-weighted CAMs do.
        strided: True if `refine` starts from `ScoreMap.strided`; then `cam` stores it where the method gives it.
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
    """One training as it is handed to a plugin, and all that a plugin knows about the outside.

    Attributes:
        dir: the job's own folder; write only here.
        samples: the images to learn from.
        classes: names of the foreground classes.
        settings: one training section of the recipe.
        seed: the recipe's seed.
        cams: score maps of the previous stage by image id, read on demand; None in `train-cls`.
        targets: extra per-image targets of this part, {name: {image_id: array}}.
        fingerprint: identifies what is trained here; a finished model with another fingerprint is not reused.
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
        """Train in `job.dir` up to model.safetensors; return the network. A finished training returns at once."""
        ...
