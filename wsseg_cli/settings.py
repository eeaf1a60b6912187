"""The vocabulary of recipe sections: training, optimiser, schedule, augmentation, inference, CRF. No torch."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

SPLIT = r"^\w[\w.+-]{0,99}$"
"""Pattern of the name of a split: files and folders of a run are called after it."""
NO_SPLIT = "cannot name a split: letters, digits, '_', '-', '.' and '+' only, at most 100"

MAX_MEGAPIXELS = "WSSEG_MAX_MEGAPIXELS"
"""The environment variable that `wsseg --max-megapixels` sets, so that worker processes see it too."""


class Settings(BaseModel):
    """Base of everything that a recipe is validated into: unknown keys, strings for numbers and NaN are refused.

    A validator is built on first use, once for a whole recipe: commands that read no recipe start faster.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, defer_build=True)


Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
NotNegativeInt = Annotated[int, Field(ge=0)]
PositiveShare = Annotated[float, Field(gt=0, le=1)]
Longest = Annotated[int, Field(ge=32)] | None
Precision = Literal["fp32", "bf16", "fp16"]
LrMultipliers = Annotated[
    tuple[NotNegative, NotNegative, NotNegative, NotNegative],
    Field(description="learning-rate multipliers of old weights, old biases, new weights, new biases"),
]


class OptimSettings(Settings):
    """Optimiser of one training section."""

    name: Literal["sgd", "adam", "adamw"] = Field("sgd", description="optimiser")
    lr: float = Field(gt=0, description="base learning rate; a method's parameter groups multiply it")
    momentum: float = Field(0.0, ge=0, lt=1, description="momentum of SGD")
    weight_decay: float = Field(0.0, ge=0, description="weight decay; groups of biases may leave it out, as published")
    betas: tuple[Share, Share] = Field((0.9, 0.999), description="moment decay rates of Adam and AdamW")
    nesterov: bool = Field(False, description="Nesterov momentum of SGD")
    grad_clip: float | None = Field(
        None, gt=0, description="norm to which larger gradients of a step are scaled down; null: as they are"
    )


class ScheduleSettings(Settings):
    """How the learning rate changes: a pure function of the step."""

    name: Literal["poly", "constant", "step", "cosine"] = Field("poly", description="shape of the schedule")
    power: float = Field(0.9, gt=0, description="poly: (1 - step / max_steps) ** power")
    steps: int | None = Field(None, ge=1, description="end of the schedule if not max_steps; the last rate is kept")
    every: int = Field(1, ge=1, description="the rate changes only at every n-th step")
    divisor: Literal["max", "max+1"] = Field("max", description="max+1: the last step still has a non-zero rate")
    warmup: int = Field(0, ge=0, description="steps of the linear rise to the rate")
    warmup_start: float = Field(0.1, ge=0, le=1, description="share of the rate at which the warm-up starts")
    milestones: tuple[Share, ...] = Field((), description="step: shares of the training after which the rate falls")
    final: float = Field(0.0, ge=0, le=1, description="cosine: share of the rate at its end")
    factor: float = Field(0.1, gt=0, le=1, description="step: factor of the rate at a milestone")


class AugmentSettings(Settings):
    """Random changes of a training image; what is null or empty does not happen."""

    resize_long: tuple[Count, Count] | None = Field(
        None, description="longer side, uniform integer, both ends included"
    )
    scales: tuple[Positive, ...] = Field((), description="factors of which one is drawn")
    scale_range: tuple[Positive, Positive] | None = Field(None, description="factor drawn uniformly")
    flip: float = Field(0.0, ge=0, le=1, description="probability of a horizontal flip")
    color_jitter: tuple[NotNegative, NotNegative, NotNegative, Annotated[float, Field(ge=0, le=0.5)]] | None = Field(
        None, description="brightness, contrast, saturation, hue, as torchvision's ColorJitter"
    )
    crop: int | None = Field(None, ge=1, description="side of the square crop in pixels; smaller images are padded")
    hsv: tuple[NotNegativeInt, NotNegativeInt, NotNegativeInt] | None = Field(
        None, description="hue (half degrees), saturation, value: whole steps, uniform up to these either way"
    )
    interpolation: Literal["pillow_bicubic", "pillow_bilinear", "opencv_cubic", "opencv_linear"] = Field(
        "pillow_bicubic", description="how `scales` and `scale_range` resize the image"
    )
    opencv: Literal["emulated", "library"] = Field(
        "emulated",
        description="what computes `hsv` and the interpolations of OpenCV: numpy, to one level of 255, or the package "
        "opencv-python-headless, faster and as published",
    )
    placement: Literal["random", "corner"] = Field(
        "random", description="where an image smaller than the crop is placed; corner: padding at bottom and right"
    )
    area: tuple[PositiveShare, PositiveShare] | None = Field(
        None, description="crop a rectangle of this share of the image's area and resize it to the square"
    )
    area_sampler: Literal["tv021", "torchvision"] = Field(
        "tv021", description="whose rule draws the rectangle: torchvision 0.2.1 or later"
    )

    @model_validator(mode="after")
    def _one_size_rule(self) -> AugmentSettings:
        sizes = {"resize_long": self.resize_long, "scale_range": self.scale_range, "area": self.area}
        for key, pair in sizes.items():
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"{key}: the first of {list(pair)} is the larger one; expected [smallest, largest]")
        given = [key for key, value in {**sizes, "scales": self.scales or None}.items() if value is not None]
        if len(given) > 1:
            raise ValueError(f"give one of {', '.join(given)}; each says how large the image becomes")
        if self.opencv == "library" and self.hsv is None and not self.interpolation.startswith("opencv"):
            raise ValueError("opencv: library is not used without hsv or an interpolation of OpenCV")
        if self.area is not None and self.crop is None:
            raise ValueError("area needs crop, the side of the square that the rectangle is resized to")
        return self


class InferSettings(Settings):
    """Test-time views of one image."""

    scales: tuple[Positive, ...] = Field((1.0,), min_length=1, description="sizes of the views relative to the image")
    flip: bool = Field(False, description="add the horizontal flip of every view")
    longest: Longest = Field(
        None, description="longer side in pixels to which a larger image is shrunk, before `scales`; null: never"
    )
    tile: int | None = Field(
        None, ge=256, description="larger images are processed in windows of this side, blended; null: as a whole"
    )
    overlap: int = Field(128, ge=0, description="pixels that neighbouring windows share at least")
    precision: Precision = Field("fp32", description="arithmetic of the network; fp16 needs a GPU")

    @model_validator(mode="after")
    def _windows_advance(self) -> InferSettings:
        if self.tile is not None and self.tile - self.overlap < 128:
            raise ValueError(f"overlap {self.overlap}: windows of {self.tile} need 128 pixels beyond it")
        return self


CRF_PRESETS = (
    "psa",
    "irn",
    "ppc",
    "deeplab",
    "deeplab_vgg16_v1",
    "deeplab_vgg16_v2",
    "seam_seg",
    "toco",
    "toco_cam",
)
"""Names of the CRF presets; their values are in `ops.crf.presets`, which a recipe cannot import without torch."""


class CrfSettings(Settings):
    """A dense CRF by preset, with single values overriding it."""

    preset: str = Field(
        "psa",
        description="psa, irn, ppc, deeplab, deeplab_vgg16_v1, deeplab_vgg16_v2, seam_seg, toco or toco_cam",
    )
    iterations: int | None = Field(None, ge=0, description="mean-field steps")
    gaussian_sxy: float | None = Field(None, gt=0, description="width of the smoothness kernel in pixels")
    gaussian_weight: float | None = Field(None, ge=0, description="weight of the smoothness kernel")
    bilateral_sxy: float | None = Field(None, gt=0, description="spatial width of the appearance kernel in pixels")
    bilateral_srgb: float | None = Field(None, gt=0, description="colour width of the appearance kernel, 0..255")
    bilateral_weight: float | None = Field(None, ge=0, description="weight of the appearance kernel")
    backend: Literal["auto", "numba", "torch", "pydensecrf"] = Field(
        "auto", description="what computes it; not part of the fingerprint"
    )

    @model_validator(mode="before")
    @classmethod
    def _from_name(cls, value: Any) -> Any:
        return {"preset": value} if isinstance(value, str) else value

    @field_validator("preset")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in CRF_PRESETS:
            near = difflib.get_close_matches(value, CRF_PRESETS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown CRF preset {value!r}{hint} (there are {', '.join(CRF_PRESETS)})")
        return value


class MaskCrfSettings(CrfSettings):
    """The dense CRF of a stage that writes masks: with the pixels it sees and the classes that enter it."""

    image: Literal["file", "published"] = Field(
        "file", description="pixels that it sees: the photo's, or those that the paper's code restores, where it does"
    )
    min_score: float | None = Field(
        None, ge=0, le=1, description="classes that reach this score nowhere in the image do not enter; null: all do"
    )
    longest: Longest = Field(
        None,
        description="longer side in pixels to which a larger photo and its scores are shrunk for the CRF, whose widths "
        "count in these pixels; null: never",
    )


ONE_LENGTH = "give exactly one of max_steps and epochs"
"""The error of a training that has two lengths, or none."""


class TrainSettings(Settings):
    """What every training section has, besides the plugin that it names."""

    weights: str = Field(
        description="initial weights: none, package, hub, a path, a name of `wsseg weights list`, or train_cls (not in "
        "train_cls itself)"
    )
    augment: AugmentSettings = Field(
        default_factory=AugmentSettings, description="random changes of the training images"
    )
    batch_size: int = Field(ge=1, description="images per optimiser step, over all processes and parts")
    accumulate: int = Field(1, ge=1, description="parts of a step that run one after the other")
    max_steps: int | None = Field(None, ge=1, description="length of the training in steps (or epochs)")
    epochs: int | None = Field(None, ge=1, description="length of the training in epochs (or max_steps)")
    optim: OptimSettings = Field(description="optimiser")
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings, description="learning-rate schedule")
    precision: Precision = Field("fp32", description="arithmetic of the forward pass")
    sync_batch_norm: bool = Field(False, description="batch statistics over all processes")
    save_every: int | None = Field(None, ge=1, description="steps between checkpoints; null: a tenth of all")

    @model_validator(mode="after")
    def _one_length(self) -> TrainSettings:
        if (self.max_steps is None) == (self.epochs is None):
            raise ValueError(ONE_LENGTH)
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size {self.batch_size} is not divisible by accumulate {self.accumulate}")
        return self


class RuntimeSettings(Settings):
    """How the machine is used; not part of a fingerprint. Of these keys only `tf32` changes numbers."""

    workers: int | None = Field(
        None, ge=0, description="workers of loaders and loops; null: from the cores of this job"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where networks run")
    tracker: Literal["none", "tensorboard", "wandb", "mlflow", "comet_ml", "aim"] = Field(
        "none",
        description="experiment tracker of accelerate, besides metrics.jsonl; tensorboard also shows the maps or "
        "predictions of four training images at every checkpoint",
    )
    tf32: bool = Field(False, description="NVIDIA GPUs may round what float32 products read to TF32: faster")
    log_every: int = Field(20, ge=1, description="steps between two lines of metrics.jsonl")
