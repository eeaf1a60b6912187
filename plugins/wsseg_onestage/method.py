"""The single-stage system as a method: classifier, mask refiner and segmentation network in one training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from wsseg_cam.classifier import Classifier, ClassifierOptions

from wsseg_cli.data.loader import steps_per_epoch
from wsseg_cli.ops.pamr import DILATIONS
from wsseg_cli.ops.resize import pillow_resize
from wsseg_cli.plugin.protocols import Batch, Fit, Labels, Losses, Predictor, Requirements, TrainingJob
from wsseg_cli.settings import Count, InferSettings
from wsseg_cli.types import ByteArray, ClassNames, FloatArray, Progress, ScoreMap

from .infer import Enlarged, log_scores, score_map
from .loss import (
    ClassLoss,
    Cutoffs,
    balanced_mask_loss,
    class_loss,
    class_scores,
    cleaned,
    pseudo_ground_truth,
    refined_masks,
)
from .net import ASPP_DILATIONS, OneStageNet
from .snapshots import hold_back
from .validation import Validation


class OneStageOptions(ClassifierOptions):
    """Options of the single-stage system; the defaults are the published ones for WideResNet-38."""

    backbone: str = Field("resnet38", description="backbone of the network")
    backbone_options: dict[str, Any] = Field(
        {}, description="options of the backbone; published: {frozen: onestage}, for resnet38 also {conv3: raw}"
    )
    channels: int = Field(256, ge=4, description="channels of the decoder")
    aspp_dilations: tuple[Count, Count, Count] = Field(ASPP_DILATIONS, description="of ASPP, whatever the stride")
    aspp_norm: Literal["fixed", "learn"] = Field(
        "fixed", description="fixed: batch norms of ASPP stay at mean 0, variance 1, as published"
    )
    psi: float = Field(0.3, ge=0, lt=1, description="share of shallow features after the stochastic gate")
    background_logit: float = Field(1.0, description="constant logit of the background")
    focal_power: float = Field(3.0, ge=0, description="p of the mask-size penalty")
    focal_floor: float = Field(0.01, gt=0, description="lambda of the mask-size penalty")
    class_loss: ClassLoss = Field("soft_margin", description="loss of the class scores")
    warmup_epochs: int = Field(5, ge=0, description="epochs with the class loss alone")
    mask_weight: float = Field(1.0, ge=0, description="weight of the mask loss after these epochs")
    pamr_iterations: int = Field(10, ge=0, description="steps of the mask refinement")
    pamr_dilations: tuple[Count, ...] = Field(
        DILATIONS, min_length=1, description="radii of its neighbour rings, in cells of the mask grid"
    )
    cutoff_floor: float = Field(0.2, ge=0, le=1, description="a mask counts above this value")
    cutoff_foreground: float = Field(0.6, ge=0, le=1, description="and above this share of its maximum")
    cutoff_background: float = Field(0.7, ge=0, le=1, description="the same share for the background")
    class_threshold: float = Field(
        0.1, ge=0, le=1, description="score above which, in any view, a class counts as predicted"
    )
    pad_size: int | None = Field(
        1024, ge=1, description="side of the square that every test view is padded to; null: not padded, not parity"
    )
    background_power: float = Field(3.0, gt=0, description="exponent of the averaged background mask")
    select: Literal["last", "val_loss"] = Field(
        "last", description="which state is the result; val_loss: the best of every second epoch on `holdout`"
    )
    holdout: float = Field(0.1, gt=0, lt=1, description="val_loss: share of the images held out for validation")


class OneStage(Classifier[OneStageOptions, OneStageNet], Predictor[OneStageOptions, OneStageNet]):
    """Single-stage segmentation: pools its own masks into class scores and learns from its refined masks."""

    paper = "Araslanov and Roth, CVPR 2020, https://arxiv.org/abs/2005.08104"

    @classmethod
    def requirements(cls, options: OneStageOptions) -> Requirements:
        """Return what it asks for: the last feature map, and a shallow one for the decoder."""
        return Requirements(feature_maps=frozenset({"conv3", "conv6"}))

    def __init__(self, options: OneStageOptions, classes: ClassNames) -> None:
        super().__init__(options, classes)
        self._validation: Validation | None = None

    def train(self, job: TrainingJob, fit: Fit) -> None:
        """Train in `job.dir`; with `select: val_loss` the best snapshot becomes model.safetensors."""
        if self.options.select == "last":
            fit(self, job)
            return
        samples, held = hold_back(job.samples, self.options.holdout, job.seed)
        usable = sum(bool(sample.labels) for sample in samples)
        per_epoch = steps_per_epoch(usable, job.settings.batch_size)
        self._validation = Validation(job, held, per_epoch, self.options.warmup_epochs)
        self._validation.put_best_in_place(fit(self, replace(job, samples=samples)))

    def after_step(self, model: OneStageNet, progress: Progress) -> None:
        """Validate the network at the start of an epoch that asks for it."""
        if self._validation is not None:
            self._validation.after_step(model, progress, self.validation_loss)

    @torch.no_grad()
    def validation_loss(self, model: OneStageNet, image: ByteArray, label: Tensor, side: int | None) -> float:
        """Return class loss plus mask loss of one image (H, W, 3), resized to a square of `side` pixels if given."""
        view = image if side is None else pillow_resize(image, (side, side))
        pixels = torch.from_numpy(self.normalization.apply(view).transpose(2, 0, 1).copy())
        batch = {"image": pixels[None].to(label.device), "label": label[None]}
        after_warmup = Progress(0, 1, self.options.warmup_epochs)
        return float(sum(self.training_step(model, batch, after_warmup).values()))

    def build_model(self) -> OneStageNet:
        """Return the network."""
        o = self.options
        return OneStageNet(
            self.backbone(),
            len(self.classes),
            channels=o.channels,
            dilations=o.aspp_dilations,
            aspp_norm=o.aspp_norm,
            psi=o.psi,
            background_logit=o.background_logit,
        )

    def training_step(self, model: OneStageNet, batch: Batch, progress: Progress) -> Losses:
        """Return {"cls": class loss} and, after the warm-up, {"mask": loss of the pseudo ground truth}."""
        o = self.options
        images, labels = batch["image"], batch["label"]
        logits = model(images)
        scores, masks = self.scores_and_masks(logits)
        losses = {"cls": class_loss(scores, labels, o.class_loss)}
        if progress.epoch >= o.warmup_epochs:
            truth = self.pseudo_ground_truth(images, masks, labels)
            losses["mask"] = o.mask_weight * balanced_mask_loss(logits, truth, labels).mean()
        return losses

    def scores_and_masks(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Return class scores (N, C) and masks (N, 1+C, h, w) of logits (N, 1+C, h, w)."""
        masks = logits.softmax(1)
        return class_scores(logits, masks, power=self.options.focal_power, floor=self.options.focal_floor), masks

    @torch.no_grad()
    def pseudo_ground_truth(self, images: Tensor, masks: Tensor, labels: Tensor) -> Tensor:
        """Return one-hot masks (N, 1+C, H, W) of normalised images (N, 3, H, W); the colours are the jittered ones."""
        o = self.options
        pixels = self.normalization.invert(images.float()) / 255
        refined = refined_masks(pixels, masks, labels, iterations=o.pamr_iterations, dilations=o.pamr_dilations)
        cutoffs = Cutoffs(o.cutoff_floor, o.cutoff_foreground, o.cutoff_background)
        size = (int(images.shape[2]), int(images.shape[3]))
        return pseudo_ground_truth(cleaned(refined, labels, size), cutoffs)

    def network(self, model: OneStageNet) -> nn.Module:
        """Return the network with its logits at the size of its input; no class is gated there."""
        return Enlarged(model)

    def logits(self, model: OneStageNet, image: ByteArray, infer: InferSettings) -> FloatArray:
        """Return the logarithm of the masks that `scores` gives without labels, (1+C, H, W): as published for val."""
        return log_scores(self.scores(model, image, None, infer), len(self.classes))

    def scores(self, model: OneStageNet, image: ByteArray, labels: Labels, infer: InferSettings) -> ScoreMap:
        """Return the masks of the image's (or the predicted) classes with the network's own background."""
        device = next(model.parameters()).device
        return score_map(
            lambda views: self.scores_and_masks(model(views.to(device))),
            image,
            labels,
            infer,
            normalization=self.normalization,
            pad_size=self.options.pad_size,
            class_threshold=self.options.class_threshold,
            background_power=self.options.background_power,
        )
