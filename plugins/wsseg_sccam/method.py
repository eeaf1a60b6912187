"""SC-CAM: rounds of clustering the features of the last network and training the next one on the clusters."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from torch import nn
from wsseg_cam.classifier import CamOptions, Classifier
from wsseg_cam.method import CAM, PlainCamOptions

from wsseg_cli.engine import checkpoint, processes
from wsseg_cli.engine.fit import usable_samples
from wsseg_cli.ops.cam import multi_scale
from wsseg_cli.plugin.protocols import Batch, Fit, InitialWeights, Labels, Losses, TrainingJob
from wsseg_cli.settings import Count, InferSettings, TrainSettings
from wsseg_cli.types import ByteArray, Progress, ScoreMap

from .loss import subcategory_losses
from .net import SubcategoryNet
from .rounds import Round
from .subcategory import SubcategoryLabels


class SCCAMOptions(CamOptions):
    """Options of SC-CAM."""

    rounds: int = Field(3, ge=1, description="times that features are clustered and a network is trained")
    subcategories: int = Field(10, ge=1, description="clusters of each class (k)")
    restarts: int = Field(10, ge=1, description="times that k-means starts; the best run counts")
    lam: float = Field(5.0, ge=0, description="weight of the loss of the sub-categories (lambda)")
    extractor: str = Field(
        "train",
        description="source of features for round 1: a classifier's name or path, or train: plain CAM first",
    )
    extractor_steps: int | None = Field(None, ge=1, description="extractor: train: its steps, if not max_steps")
    extractor_crop: int | None = Field(None, ge=1, description="extractor: train: its crop, if not augment.crop")
    earlier_steps: tuple[Count, ...] | None = Field(
        None, description="steps of each round before the last, which has max_steps; null: the same"
    )

    @model_validator(mode="after")
    def _rounds_fit(self) -> SCCAMOptions:
        if self.earlier_steps is not None and len(self.earlier_steps) != self.rounds - 1:
            raise ValueError(
                f"earlier_steps has {len(self.earlier_steps)} numbers; "
                f"{self.rounds} rounds have {self.rounds - 1} before the last"
            )
        if self.extractor != "train" and (self.extractor_steps or self.extractor_crop):
            raise ValueError("extractor_steps and extractor_crop belong to extractor: train")
        return self


class SCCAM(Classifier[SCCAMOptions, SubcategoryNet]):
    """Sub-category exploration: classes and clusters within them are learnt together, three times over."""

    paper = "Chang et al., CVPR 2020, https://arxiv.org/abs/2008.01183"
    sees_windows = True

    def build_model(self) -> SubcategoryNet:
        """Return the network of a round."""
        o = self.options
        classes = len(self.classes)
        return SubcategoryNet(self.backbone(), classes, o.subcategories, dropout=o.dropout, head_init=o.head_init)

    def train(self, job: TrainingJob, fit: Fit) -> None:
        """Train round after round, each from the initial weights; the last in `job.dir`, the others in round_N.

        round_N/clusters.json holds the clusters that round N learns, round_N/features.safetensors what they were made
        from. Finished rounds are not repeated.
        """
        o = self.options
        samples = usable_samples(self, job)
        backbone = self._first_extractor(job, fit)
        for number in range(1, o.rounds + 1):
            name = f"round_{number}"
            now = Round(
                job.dir / name,
                f"{job.fingerprint}/{name}",
                number,
                samples,
                self.classes,
                o.subcategories,
                o.restarts,
            )
            clusters = now.clusters(backbone, self.normalization, job.workers)
            ids = [sample.image_id for sample in samples]
            targets = {"subcategory": SubcategoryLabels(ids, clusters, o.subcategories)}
            if number == o.rounds:
                fit(self, job.with_targets(targets))
            else:
                settings = _with_steps(job.settings, o.earlier_steps[number - 1] if o.earlier_steps else None)
                backbone = fit(self, job.part(name, targets, settings)).backbone

    def initial_weights(self, settings: TrainSettings | None) -> list[InitialWeights]:
        """Return the weights that every round starts from, and the classifier's whose features round 1 clusters."""
        weights = super().initial_weights(settings)
        if self.options.extractor != "train":
            weights.append(InitialWeights(self.options.extractor, self._classifier().build_model, "extractor"))
        return weights

    def _classifier(self) -> CAM:
        o = self.options
        return CAM(
            PlainCamOptions(
                backbone=o.backbone,
                backbone_options=o.backbone_options,
                dropout=o.dropout,
                head_init=o.head_init,
                lr_multipliers=o.lr_multipliers,
            ),
            self.classes,
        )

    def _first_extractor(self, job: TrainingJob, fit: Fit) -> nn.Module:
        o = self.options
        classifier = self._classifier()
        if o.extractor == "train":
            settings = _with_steps(job.settings, o.extractor_steps)
            # The classifier follows a paper of its own: its schedule ends where its training ends.
            changes: dict[str, Any] = {"schedule": settings.schedule.model_copy(update={"steps": None})}
            if o.extractor_crop:
                changes["augment"] = settings.augment.model_copy(update={"crop": o.extractor_crop})
            return fit(classifier, job.part("round_0", {}, settings.model_copy(update=changes))).backbone
        model = classifier.build_model()
        checkpoint.load_initial(model, o.extractor)
        return model.to(processes.start()).eval().backbone

    def training_step(self, model: SubcategoryNet, batch: Batch, progress: Progress) -> Losses:
        """Return {"parent", "sub"}; their sum is SC-CAM's loss."""
        parent, sub = model(batch["image"])
        return subcategory_losses(parent, sub, batch["label"], batch["target/subcategory"], self.options.lam)

    def scores(self, model: SubcategoryNet, image: ByteArray, labels: Labels, infer: InferSettings) -> ScoreMap:
        """Return the classes' own maps, each divided by its maximum; the sub-categories only help in training."""
        return multi_scale(
            model,
            image,
            labels,
            infer,
            normalization=self.normalization,
            forward=model.raw_cams,
            class_threshold=self.options.class_threshold,
        )


def _with_steps(settings: TrainSettings, steps: int | None) -> TrainSettings:
    return settings if steps is None else settings.model_copy(update={"max_steps": steps, "epochs": None})
