"""PuzzleCAM: class activation maps that stay the same when the image is cut into tiles."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator
from wsseg_cam.classifier import Classifier, ClassifierOptions

from wsseg_cli.nets.class_layer import HeadInit
from wsseg_cli.ops.cam import STRIDE, multi_scale
from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.ops.pooling import global_average
from wsseg_cli.plugin.protocols import Batch, Labels, Losses
from wsseg_cli.settings import InferSettings, NotNegative
from wsseg_cli.types import ByteArray, Progress, ScoreMap

from .loss import alpha_at, peak_normalised, reconstruction, tile_entropy
from .net import PuzzleClassifier
from .tiles import merged, side_of, tiled


class PuzzleCAMOptions(ClassifierOptions):
    """Options of PuzzleCAM."""

    backbone: str = Field("resnet50", description="backbone of the classifier")
    head_init: HeadInit = Field("kaiming", description="what the class layer starts from; zero for few images")
    pieces: int = Field(4, ge=1, description="tiles of an image, a square number")
    alpha: NotNegative = Field(4.0, description="weight of the reconstruction at the end")
    alpha_rise: float = Field(0.5, ge=0, le=1, description="share of the training in which alpha rises linearly")
    tile_class: bool = Field(True, description="class loss on the maps of the tiles too")
    tile_entropy: bool = Field(False, description="entropy of the tiles' class scores as a further loss")
    level: Literal["feature", "cam"] = Field("feature", description="compare raw maps, or maps over their maximum")
    distance: Literal["l1", "l2"] = Field("l1", description="of two maps")
    counted: Literal["masked", "present", "all"] = Field(
        "masked", description="mean over all with absent classes as zeros, over present classes, or over all"
    )

    @field_validator("pieces")
    @classmethod
    def _square(cls, value: int) -> int:
        if not side_of(value):
            raise ValueError(f"an image cannot be cut into {value} tiles of equal sides; expected 1, 4, 9, 16, …")
        return value


class PuzzleCAM(Classifier[PuzzleCAMOptions, PuzzleClassifier]):
    """Class maps of an image and of its tiles, put together again, learn to agree."""

    paper = "Jo and Yu, ICIP 2021, https://arxiv.org/abs/2101.11253"
    gives_strided = True
    sees_windows = True

    def build_model(self) -> PuzzleClassifier:
        """Return the classifier."""
        return PuzzleClassifier(self.backbone(), len(self.classes), self.options.head_init)

    def training_step(self, model: PuzzleClassifier, batch: Batch, progress: Progress) -> Losses:
        """Return {"cls", "rec"}, and "tile_cls" and "tile_entropy" if asked for.

        Raises:
            RecipeError: the crop does not divide into equal tiles, or its maps and those of the tiles differ in size.
        """
        o = self.options
        images, labels = batch["image"], batch["label"]
        maps = model(images).float()
        tiles = model(tiled(images, o.pieces)).float()
        losses = {"cls": multilabel_soft_margin(global_average(maps), labels)}
        if o.tile_entropy:
            losses["tile_entropy"] = tile_entropy(global_average(tiles))
        together = merged(tiles, o.pieces, like=maps)
        if o.level == "cam":
            maps, together = peak_normalised(maps), peak_normalised(together)
        if o.tile_class:
            losses["tile_cls"] = multilabel_soft_margin(global_average(together), labels)
        difference = reconstruction(maps, together, labels, distance=o.distance, counted=o.counted)
        losses["rec"] = alpha_at(progress.step, progress.max_steps, o.alpha, o.alpha_rise) * difference
        return losses

    def scores(self, model: PuzzleClassifier, image: ByteArray, labels: Labels, infer: InferSettings) -> ScoreMap:
        """Return the maps of the image's (or the predicted) classes, each divided by its maximum."""
        return multi_scale(
            model,
            image,
            labels,
            infer,
            normalization=self.normalization,
            class_threshold=self.options.class_threshold,
            multiple=16,
            stride=STRIDE,
        )
