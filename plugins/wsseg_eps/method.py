"""EPS: a classifier whose maps must also explain a saliency map."""

from __future__ import annotations

from collections.abc import Callable

from pydantic import Field
from torch import Tensor, nn
from wsseg_cam.classifier import CamOptions, Classifier

from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.ops.cam import multi_scale
from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.ops.pooling import global_average
from wsseg_cli.plugin.protocols import Batch, Fit, Labels, Losses, Requirements, TrainingJob, Transform
from wsseg_cli.settings import AugmentSettings, InferSettings
from wsseg_cli.types import ByteArray, Normalization, Progress, ScoreMap

from .loss import Shrink, cells_inside, saliency_loss
from .net import EpsNet
from .sizes import require_image_sizes


class EPSOptions(CamOptions):
    """Options of EPS."""

    dropout: float = Field(0.0, ge=0, lt=1, description="channels of the last feature map dropped in training")
    tau: float = Field(0.4, ge=0, le=1, description="share of a class's area that is salient if it is foreground")
    lam: float = Field(0.5, ge=0, le=1, description="weight of the foreground map in the explained saliency")
    shrink: Shrink = Field(
        "nearest", description="saliency at the maps' size: nearest: one pixel per cell, area: their mean"
    )
    mask_padding: bool = Field(False, description="leave a crop's padding out of the saliency loss")
    resize_saliency: bool = Field(
        False, description="accept maps that differ in size from their image, and resize them"
    )


class EPS(Classifier[EPSOptions, EpsNet]):
    """Explicit pseudo-pixel supervision: foreground and background of the maps must explain a saliency map."""

    paper = "Lee et al., CVPR 2021, https://arxiv.org/abs/2105.08965"
    sees_windows = True

    @classmethod
    def requirements(cls, options: EPSOptions) -> Requirements:
        """Return what it asks for: a saliency map of each training image."""
        return Requirements(training=frozenset({"saliency"}), feature_maps=frozenset({"conv6"}))

    def build_model(self) -> EpsNet:
        """Return the classifier."""
        o = self.options
        return EpsNet(self.backbone(), len(self.classes), dropout=o.dropout, head_init=o.head_init)

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform of classifier training; saliency is resized, flipped and cropped with its image."""
        box = self.options.mask_padding
        return classification_transform(augment, normalize=self.normalization, with_=("saliency",), box=box)

    def train(self, job: TrainingJob, fit: Fit) -> None:
        """Check the saliency maps, then train.

        Raises:
            DataError: maps and their images differ in size, unless `resize_saliency` is set.
        """
        if not self.options.resize_saliency:
            require_image_sizes(job.samples)
        fit(self, job)

    def training_step(self, model: EpsNet, batch: Batch, progress: Progress) -> Losses:
        """Return {"cls": multi-label soft margin of the C classes, "sal": saliency loss}."""
        return eps_losses(
            model(batch["image"]),
            batch["saliency"],
            batch["label"],
            tau=self.options.tau,
            lam=self.options.lam,
            shrink=self.options.shrink,
            boxes=batch.get("box"),
        )

    def scores(self, model: EpsNet, image: ByteArray, labels: Labels, infer: InferSettings) -> ScoreMap:
        """Return the maps of the image's (or the predicted) classes, each divided by its maximum."""
        return softmax_scores(
            model,
            image,
            labels,
            infer,
            normalization=self.normalization,
            class_threshold=self.options.class_threshold,
        )


def eps_losses(
    maps: Tensor,
    saliency: Tensor,
    labels: Tensor,
    *,
    tau: float,
    lam: float,
    shrink: Shrink = "nearest",
    boxes: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return {"cls", "sal"}, whose sum EPS minimises (CVPR 2021, section 3.3).

    maps: (N, C+1, h, w) raw, background last: its pooled score is not supervised. saliency: (N, 1, H, W) in [0, 1];
    labels: (N, C) multi-hot. boxes: (N, 4), the place of each image in its crop; pixels outside are then left out.
    """
    size = (maps.shape[2], maps.shape[3])
    inside = None if boxes is None else cells_inside(boxes, saliency.shape[-1], size)
    return {
        "cls": multilabel_soft_margin(global_average(maps[:, :-1]), labels),
        "sal": saliency_loss(maps, saliency, labels, tau=tau, lam=lam, shrink=shrink, inside=inside),
    }


def softmax_scores(
    model: nn.Module,
    image: ByteArray,
    labels: tuple[int, ...] | None,
    infer: InferSettings,
    *,
    normalization: Normalization,
    class_threshold: float,
    forward: Callable[[Tensor], Tensor] | None = None,
) -> ScoreMap:
    """Return the score map of one image from raw maps whose last channel is background, as EPS does.

    The softmax comes before the maps are resized to the image; the background map is not used. forward:
    normalised views (V, 3, h, w) -> raw maps (V, C+1, h', w'), by default the model.
    """
    return multi_scale(
        model,
        image,
        labels,
        infer,
        normalization=normalization,
        forward=forward,
        activation=lambda maps: maps.softmax(1)[:, :-1],
        logits=lambda maps: global_average(maps[:, :-1]),
        class_threshold=class_threshold,
    )
