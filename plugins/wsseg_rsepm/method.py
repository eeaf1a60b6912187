"""RecurSeed + EdgePredictMix as a method. Reconstructed: its training code was never released."""

from __future__ import annotations

from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import nn
from wsseg_cam.classifier import Classifier, ClassifierOptions

from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.engine.ema import ema_update
from wsseg_cli.ops.crf_pixels import restored_pixels
from wsseg_cli.plugin.protocols import Batch, Labels, Losses, Predictor, Requirements, Transform
from wsseg_cli.settings import AugmentSettings, Count, InferSettings, LrMultipliers, NotNegative, PositiveShare
from wsseg_cli.types import ByteArray, FloatArray, Progress, ScoreMap

from .average import AveragedRsepmNet, evaluated
from .maps import whole_boxes
from .net import Decoder, RsepmNet
from .scg import ScgParameters
from .score import decoder_logits, score_map
from .step import StepRules, first_pass, mixed_batch, mixed_losses, recursion_losses, refined_targets


class RecurSeedOptions(ClassifierOptions):
    """Options of RecurSeed + EdgePredictMix."""

    backbone: str = Field("resnet50", description="backbone")
    decoder_width: Count = Field(256, description="channels inside ASPP and decoder")
    aspp_dilations: tuple[Count, Count, Count] | None = Field(
        None, description="of ASPP; null: 6, 12, 18 at stride 16 and twice that at stride 8, as published"
    )
    lr_multipliers: LrMultipliers = (1.0, 1.0, 10.0, 10.0)
    recursion: bool = Field(True, description="learn from the network's own refined seeds")
    recursion_epoch: int = Field(5, ge=0, description="epochs before the recursion")
    scg: bool = Field(True, description="spread the seeds along the self-correlation of features")
    scg_feature_maps: tuple[str, ...] | None = Field(None, description="feature maps of SCG; null: all of the backbone")
    scg_first: float = Field(0.5, ge=0, le=1, description="SCG: similarities below it count as 0")
    scg_second: NotNegative = Field(0.1, description="SCG: second-order entries below this / cells count as 0")
    scg_foreground: float = Field(0.3, ge=0, le=1, description="SCG: seeds from this value up are foreground")
    scg_background: float = Field(0.05, ge=0, le=1, description="SCG: seeds up to this value are background")
    pamr_scale: PositiveShare = Field(0.5, description="size at which PAMR works, relative to the crop")
    pamr_iterations: int = Field(10, ge=0, description="iterations of PAMR")
    pamr_dilations: tuple[Count, ...] = Field((1, 2, 4, 8, 12, 24), min_length=1, description="rings of PAMR")
    certain_filter: bool = Field(True, description="leave uncertain pixels out; false: one threshold half way")
    certain: float = Field(0.55, ge=0, le=1, description="seed value from which a pixel belongs to its class")
    uncertain: float = Field(0.1, ge=0, le=1, description="seed value up to which a pixel is background")
    reconstruction_weight: NotNegative = Field(1.0, description="weight of the reconstruction losses")
    segmentation_weight: NotNegative = Field(1.0, description="weight of the segmentation losses")
    segmentation_at: Literal["image", "logits"] = Field("image", description="size of the segmentation loss")
    mix: bool = Field(True, description="also learn from images with pasted objects")
    mix_epoch: int = Field(15, ge=0, description="epochs before the mixing")
    mix_labels: Literal["certain", "edge"] = Field(
        "certain", description="certain: CertainMix, well documented; edge: EdgePredictMix, by our definition"
    )
    edge: float = Field(0.2, ge=0, le=1, description="EdgePredictMix: difference of neighbours that is an edge")
    mix_class_weight: NotNegative = Field(0.0, description="weight of the class loss on mixed images (1 in v1)")
    ema_decay: float | None = Field(0.999, ge=0, lt=1, description="moving average that is evaluated; null: none")
    teacher: Literal["same", "average"] = Field(
        "same", description="what makes the targets: the network in the same pass, or its moving average"
    )
    maps: Literal["decoder", "scg", "cam"] = Field("decoder", description="what the score maps are made of")
    interpolation: Literal["nearest", "bilinear"] = Field("nearest", description="how views are resized to one size")
    class_threshold: float = Field(0.34, ge=0, le=1, description="score from which a class counts as predicted")

    @model_validator(mode="after")
    def _fit_together(self) -> RecurSeedOptions:
        if self.teacher == "average" and self.ema_decay is None:
            raise ValueError("teacher: average needs ema_decay, such as 0.999")
        if self.uncertain > self.certain:
            raise ValueError(f"uncertain {self.uncertain} is above certain {self.certain}")
        return self


class RecurSeedEPM(Classifier[RecurSeedOptions, RsepmNet], Predictor[RecurSeedOptions, RsepmNet]):
    """Recursive seeds, a certain filter, and mixing of certain objects, in one network with a decoder."""

    paper = "Jo, Yu and Kim, 2022, https://arxiv.org/abs/2204.06754; reconstructed: training code was never released"
    idle_parameters = True

    @classmethod
    def requirements(cls, options: RecurSeedOptions) -> Requirements:
        """Return what it asks for: the last feature map, a shallow one for the decoder, and those that SCG names."""
        return Requirements(feature_maps=frozenset({"conv3", "conv6", *(options.scg_feature_maps or ())}))

    @property
    def decay_biases(self) -> bool:
        """Whether biases have weight decay too."""
        return True

    def build_model(self) -> RsepmNet:
        """Return the single-stage network, with its moving average unless `ema_decay` is null."""
        o = self.options
        kind = RsepmNet if o.ema_decay is None else AveragedRsepmNet
        return kind(self.backbone(), len(self.classes), decoder_width=o.decoder_width, aspp_dilations=o.aspp_dilations)

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform of classifier training, with the position of the image in its crop."""
        return classification_transform(augment, normalize=self.normalization, box=True)

    def training_step(self, model: RsepmNet, batch: Batch, progress: Progress) -> Losses:
        """Return {"cls"}, with recursion also {"rec", "seg"}, with mixing also {"rec_mix", "seg_mix"} and "cls_mix".

        The targets of a step are the maps and masks of the same pass (or those of the moving average).
        """
        o, rules = self.options, self.rules
        if progress.step == 0 and isinstance(model, AveragedRsepmNet):
            model.start_average()
        images, labels = batch["image"], batch["label"]
        boxes = batch["box"] if "box" in batch else whole_boxes(images)
        seen = first_pass(model, images, labels, boxes)
        losses = {"cls": seen.class_loss()}
        recursion = o.recursion and progress.epoch >= o.recursion_epoch
        mix = o.mix and progress.epoch >= o.mix_epoch
        if not recursion and not mix:
            return losses
        told = seen
        if o.teacher == "average" and isinstance(model, AveragedRsepmNet):
            with torch.no_grad():
                told = first_pass(model.average, images, labels, boxes)
        targets = refined_targets(told, rules, mix)
        if recursion:
            losses |= recursion_losses(seen, targets, rules)
        if mix:
            mixed = mixed_batch(seen, targets, rules)
            losses |= mixed_losses(model, mixed, rules)
        return losses

    def after_step(self, model: RsepmNet, progress: Progress) -> None:
        """Move the average."""
        decay = self.options.ema_decay
        if isinstance(model, AveragedRsepmNet) and decay is not None:
            ema_update(model.average, model, progress.step + 1, decay)

    def network(self, model: RsepmNet) -> nn.Module:
        """Return the decoder's part of the network (of its moving average), logits at the size of its input."""
        return Decoder(evaluated(model))

    def logits(self, model: RsepmNet, image: ByteArray, infer: InferSettings) -> FloatArray:
        """Return the logarithm of the decoder's mean probabilities over all views, (1+C, H, W), background first.

        The published prediction discards the decoder's background; so do the score maps (`scores`), but not these
        logits.
        """
        return decoder_logits(evaluated(model), image, infer, self.options.interpolation)

    def scores(self, model: RsepmNet, image: ByteArray, labels: Labels, infer: InferSettings) -> ScoreMap:
        """Return the decoder's maps of the image's (or the predicted) classes, each divided by its own maximum."""
        o = self.options
        return score_map(
            evaluated(model),
            image,
            labels,
            infer,
            maps=o.maps,
            mode=o.interpolation,
            class_threshold=o.class_threshold,
            scg=self.rules.scg,
            feature_maps=o.scg_feature_maps,
        )

    def published_pixels(self, image: ByteArray) -> ByteArray:
        """Return what the released script gives its CRF: the network's input, restored and truncated."""
        return restored_pixels(image, self.normalization, "float64")

    @property
    def rules(self) -> StepRules:
        """Return the options of a training step, under their mathematical names."""
        o = self.options
        middle = (o.certain + o.uncertain) / 2
        return StepRules(
            scg=ScgParameters(o.scg_first, o.scg_second, o.scg_foreground, o.scg_background),
            spread=o.scg,
            feature_maps=o.scg_feature_maps,
            pamr_scale=o.pamr_scale,
            pamr_iterations=o.pamr_iterations,
            pamr_dilations=o.pamr_dilations,
            certain=o.certain if o.certain_filter else middle,
            uncertain=o.uncertain if o.certain_filter else middle,
            edge=o.edge if o.mix_labels == "edge" else None,
            reconstruction=o.reconstruction_weight,
            segmentation=o.segmentation_weight,
            mixed_class=o.mix_class_weight,
            segmentation_at=o.segmentation_at,
        )
