"""The sections of a recipe, one per stage, and the recipe as a whole. Options of plugins are the plugins' own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, field_validator, model_validator

from ..settings import (
    NO_SPLIT,
    SPLIT,
    InferSettings,
    MaskCrfSettings,
    RuntimeSettings,
    Settings,
    TrainSettings,
)
from .background import Background
from .evaluating import EvalSettings
from .ignore import IgnoreSettings

STAGES: tuple[str, ...] = ("prepare", "train-cls", "cam", "refine", "pseudo", "train-seg", "eval")
"""The stages by the names of their commands, in order."""

SECTION: dict[str, str] = {stage: stage.replace("-", "_") for stage in STAGES} | {"prepare": "dataset"}
"""The section of the recipe that says what a stage does."""

PLUGIN: dict[str, tuple[str, str, str]] = {
    "prepare": ("datasets", "dataset", ""),
    "train-cls": ("methods", "train_cls", "method"),
    "refine": ("refiners", "refine", "refiner"),
    "pseudo": ("mask_refiners", "pseudo", "refiner"),
    "train-seg": ("segmenters", "train_seg", "segmenter"),
}
"""The stages that run a plugin: its group, the section, and the key that names it (the section itself if "").

Only that of `pseudo` may be absent from an existing section.
"""


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value) if isinstance(value, list) else value


Splits = Annotated[tuple[str, ...], BeforeValidator(_as_tuple), Field(min_length=1)]


class PluginChoice(Settings):
    """A plugin by name and its options, which the plugin itself validates."""

    name: str = Field(description="name of the plugin, as in `wsseg plugins list`")
    options: dict[str, Any] = Field({}, description="options of the plugin, as in `wsseg plugins show NAME`")


class DatasetSettings(PluginChoice):
    """The data set and the splits that a run works on."""

    train: Splits = Field(description="split or splits that are trained on")
    val: str | None = Field(None, description="split that is never trained on")
    score: Splits | None = Field(
        None, description="split or splits on which everything is evaluated; default: the train split"
    )

    @field_validator("train", "val", "score")
    @classmethod
    def _file_names(cls, value: Any) -> Any:
        names = (value,) if isinstance(value, str) else value or ()
        for name in names:
            if not re.fullmatch(SPLIT, name):
                raise ValueError(f"{name!r} {NO_SPLIT}")
        if len(set(names)) < len(names):
            raise ValueError(f"a split occurs twice (got {', '.join(names)})")
        return value

    @property
    def scored(self) -> tuple[str, ...]:
        """Splits on which everything is evaluated."""
        return self.score or self.train

    @property
    def splits(self) -> tuple[str, ...]:
        """All splits that the recipe names, each once: train, val, score."""
        return tuple(dict.fromkeys((*self.train, *([self.val] if self.val else []), *self.scored)))


class TrainClsSettings(TrainSettings):
    """Training of the classifier."""

    method: PluginChoice = Field(description="method that learns from image labels")
    unlabelled: Literal["keep", "drop"] = Field(
        "keep", description="images that show none of the classes: negatives, or left out as in the published code"
    )

    @model_validator(mode="after")
    def _not_itself(self) -> TrainClsSettings:
        if self.weights == "train_cls":
            raise ValueError("weights: train_cls means this very network; use none, package, hub, a path or a name")
        return self


class FrozenClsSettings(Settings):
    """A classifier that learns nothing: its weights are used as they are."""

    method: PluginChoice = Field(description="method that turns frozen weights into score maps")
    weights: str = Field("none", description="weights of the network: package, hub, a name, a path, or none")

    @model_validator(mode="after")
    def _not_itself(self) -> FrozenClsSettings:
        if self.weights == "train_cls":
            raise ValueError("weights: train_cls means this very network; use package, none or a path")
        return self


def _classifier_section(section: Any) -> str:
    """Return which of the two kinds a train_cls section is: any key of training makes it one that trains."""
    said = section if isinstance(section, dict) else getattr(section, "model_fields_set", ())
    return TrainClsSettings.__name__ if set(said) - {"method", "weights"} else FrozenClsSettings.__name__


ClassifierSettings = Annotated[
    Annotated[TrainClsSettings, Tag(TrainClsSettings.__name__)]
    | Annotated[FrozenClsSettings, Tag(FrozenClsSettings.__name__)],
    Discriminator(_classifier_section),
]
"""The section train_cls: of a method that trains, or of one that learns nothing."""


class LabelSources(Settings):
    """Where the image labels of a score map come from, by the role of its split."""

    train: Literal["given", "predicted"] = Field("given", description="images of the train and score splits")
    val: Literal["given", "predicted"] = Field("predicted", description="images of every other split")


class CamSettings(Settings):
    """Class activation maps."""

    labels: LabelSources = Field(
        default_factory=LabelSources, description="whether image labels are given or predicted"
    )
    infer: InferSettings = Field(default_factory=InferSettings, description="test-time views")
    fold_norms: bool = Field(
        False, description="fold batch norms into convolutions, as eval and predict do: faster, last digits differ"
    )
    store_stride: int = Field(4, ge=1, description="how coarse the stored maps are; 1 is full resolution")


class RefinerChoice(PluginChoice):
    """One refiner of several that run one after the other."""

    train: TrainSettings | None = Field(None, description="training of this refiner if it learns")
    infer: InferSettings | None = Field(None, description="test-time views of this refiner; null: refine.infer")


def _refiner_form(refiner: Any) -> str:
    return "tuple[RefinerChoice]" if isinstance(refiner, list | tuple) else PluginChoice.__name__


Refiners = Annotated[
    Annotated[PluginChoice, Tag(PluginChoice.__name__)]
    | Annotated[tuple[RefinerChoice, ...], Field(min_length=1), Tag("tuple[RefinerChoice]")],
    Discriminator(_refiner_form),
]
"""One refiner, or a list of them: each reads the score maps of the previous one."""


class RefineSettings(Settings):
    """Refinement of score maps."""

    refiner: Refiners = Field(
        description="refiner that improves the score maps, or a list of them: each reads the maps of the previous one"
    )
    train: TrainSettings | None = Field(None, description="training of a refiner that learns")
    infer: InferSettings = Field(default_factory=InferSettings, description="test-time views")
    store_stride: int = Field(4, ge=1, description="how coarse the stored maps are; 1 is full resolution")

    @property
    def chain(self) -> tuple[RefinerChoice, ...]:
        """The refiners in order, each with its own training and views."""
        if isinstance(self.refiner, tuple):
            return tuple(one.model_copy(update={"infer": one.infer or self.infer}) for one in self.refiner)
        one = self.refiner
        return (RefinerChoice(name=one.name, options=one.options, train=self.train, infer=self.infer),)

    @model_validator(mode="after")
    def _trained_one_by_one(self) -> RefineSettings:
        if isinstance(self.refiner, tuple) and self.train is not None:
            raise ValueError("train: each refiner in a list takes its own `train`")
        return self


class PseudoSettings(Settings):
    """Pseudo-masks from score maps."""

    background: Background | None = Field(
        description="{threshold: …}, {low: …, high: …}, {power: …}, auto (a threshold that the stage chooses, "
        "counting in masks of training images), or null where the maps bring one of their own"
    )
    crf: MaskCrfSettings | None = Field(None, description="dense CRF, a preset's name or {preset: …, …}; null: none")
    refiner: PluginChoice | None = Field(None, description="mask refiner, the last step; null: none")
    precision: Literal["fp32", "fp16"] = Field(
        "fp32",
        description="arithmetic of background, comparison and energies; fp16 as in codes that use stored maps",
    )
    ignore: IgnoreSettings | None = Field(None, description="{below: …}: pixels that become 255; null: none")
    store_confidence: bool = Field(
        False, description="also write confidence/ID.png, grey: 0 to 255 for a confidence of 0 to 1"
    )

    @model_validator(mode="before")
    @classmethod
    def _old_name(cls, data: Any) -> Any:
        if isinstance(data, dict) and "confidence" in data:
            raise ValueError("confidence is now ignore: {below: …, only_training: true}")
        return data


class TrainSegSettings(TrainSettings):
    """Training of the segmentation network."""

    segmenter: PluginChoice = Field(description="segmenter that learns from masks")
    masks: Literal["pseudo", "ground_truth", "corrected"] = Field(
        "pseudo", description="what it learns from; corrected: hand masks where they exist, else pseudo-masks"
    )
    corrected: str | None = Field(
        None,
        description="masks: corrected: folder of hand masks, ID.png, as `wsseg convert masks` writes them; null: those "
        "of the data set",
    )
    repeat_corrected: int = Field(
        1,
        ge=1,
        le=1000,
        description="masks: corrected: how many times as often as others images with hand masks are used",
    )

    @property
    def hand_folder(self) -> Path | None:
        """The folder of hand masks that is read, None where none is: other masks, or the data set's."""
        if self.masks != "corrected" or self.corrected is None:
            return None
        return Path(self.corrected).expanduser()

    @property
    def masks_of_the_data(self) -> bool:
        """Whether masks of the data set are learnt from."""
        return self.masks == "ground_truth" or (self.masks == "corrected" and self.corrected is None)


class Recipe(Settings):
    """One experiment, complete in itself. A section that is null or left out means that its stage does not run."""

    name: str = Field(pattern=r"^\w[\w.+-]{0,99}$", description="name of the experiment; the run is runs/NAME")
    seed: int = Field(0, ge=0, lt=2**32, description="root of all random numbers")
    reference: dict[str, Any] | None = Field(None, description="published numbers, printed next to ours")
    dataset: DatasetSettings = Field(description="the data set; the section of prepare")
    train_cls: ClassifierSettings | None = Field(
        None, description="training of the classifier; only method and weights if it learns nothing"
    )
    cam: CamSettings | None = Field(None, description="class activation maps")
    refine: RefineSettings | None = Field(None, description="refinement of score maps")
    pseudo: PseudoSettings | None = Field(None, description="pseudo-masks")
    train_seg: TrainSegSettings | None = Field(None, description="training of the segmentation network")
    eval: EvalSettings = Field(default_factory=EvalSettings, description="how results are evaluated")
    runtime: RuntimeSettings = Field(
        default_factory=RuntimeSettings, description="how the machine is used; no part of a fingerprint"
    )

    @property
    def stages(self) -> tuple[str, ...]:
        """Stages that this recipe has, in order."""
        return tuple(stage for stage in STAGES if getattr(self, SECTION[stage]) is not None)

    @property
    def refine_parts(self) -> tuple[str, ...]:
        """The stages of the refiners, in order: "refine-1", "refine-2", … and, of the last one, "refine"."""
        count = len(self.refine.chain) if self.refine else 0
        return (*(f"refine-{number}" for number in range(1, count)), "refine")[: max(count, 1)]

    @model_validator(mode="after")
    def _stages_fit(self) -> Recipe:
        if self.cam and not self.train_cls:
            raise ValueError("cam needs a train_cls section, which names the method")
        if self.pseudo and self.pseudo.crf and self.pseudo.crf.image == "published" and not self.train_cls:
            raise ValueError(
                "pseudo.crf.image: published needs a train_cls section: the method says what was published"
            )
        if self.train_seg and self.train_seg.weights == "train_cls" and not self.train_cls:
            raise ValueError("train_seg.weights: train_cls needs a train_cls section")
        trainings = [one.train for one in self.refine.chain if one.train] if self.refine else []
        if any(training.weights == "train_cls" for training in trainings) and not self.train_cls:
            raise ValueError("refine.train.weights: train_cls needs a train_cls section")
        return self
