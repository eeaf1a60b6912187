"""SC-CAM: rounds of clustering the features of the last network and training the next one on the clusters."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator
from torch import Tensor, nn
from wsseg_cam.method import CAM

from wsseg_cli import nets
from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.engine import checkpoint, processes
from wsseg_cli.engine.fit import usable_samples
from wsseg_cli.engine.optim import PSA_MULTIPLIERS, psa_param_groups
from wsseg_cli.nets.class_layer import HeadInit
from wsseg_cli.ops.cam import multi_scale
from wsseg_cli.plugin.protocols import Fit, Method, PluginOptions, Stage, Transform
from wsseg_cli.settings import AugmentSettings, Count, InferSettings, NotNegative, OptimSettings, TrainSettings
from wsseg_cli.types import ByteArray, Progress, ScoreMap

from .loss import subcategory_losses
from .net import SubcategoryNet
from .rounds import Round
from .subcategory import SubcategoryLabels


class SCCAM(Method):
    """Sub-category exploration: classes and clusters within them are learnt together, three times over."""

    paper = "Chang et al., CVPR 2020, https://arxiv.org/abs/2008.01183"

    class Options(PluginOptions):
        """Options of SC-CAM."""

        backbone: str = Field("resnet38", description="backbone of the classifier")
        backbone_options: dict[str, Any] = Field({}, description="options of the backbone, such as {output_stride: 16}")
        dropout: float = Field(0.5, ge=0, lt=1, description="channels of the last feature map dropped in training")
        head_init: HeadInit = Field(
            "xavier", description="what the class layer starts from; zero where images and steps are few"
        )
        rounds: int = Field(3, ge=1, description="times that features are clustered and a network is trained")
        subcategories: int = Field(10, ge=1, description="clusters of each class (k)")
        restarts: int = Field(10, ge=1, description="times that k-means starts; the best run counts")
        lam: float = Field(5.0, ge=0, description="weight of the loss of the sub-categories (lambda)")
        extractor: str = Field(
            "train",
            description="whose features round 1 clusters: a classifier's name or path, or train: plain CAM first",
        )
        extractor_steps: int | None = Field(None, ge=1, description="extractor: train: its steps, if not max_steps")
        extractor_crop: int | None = Field(None, ge=1, description="extractor: train: its crop, if not augment.crop")
        earlier_steps: tuple[Count, ...] | None = Field(
            None, description="steps of each round before the last, which has max_steps; null: the same"
        )
        lr_multipliers: tuple[NotNegative, NotNegative, NotNegative, NotNegative] = Field(
            PSA_MULTIPLIERS, description="multiples of the rate: old weights, old biases, new weights, new biases"
        )
        class_threshold: float = Field(0.5, ge=0, le=1, description="score from which a class counts as predicted")

        @model_validator(mode="after")
        def _rounds_fit(self) -> SCCAM.Options:
            if self.earlier_steps is not None and len(self.earlier_steps) != self.rounds - 1:
                raise ValueError(
                    f"earlier_steps has {len(self.earlier_steps)} numbers; "
                    f"{self.rounds} rounds have {self.rounds - 1} before the last"
                )
            if self.extractor != "train" and (self.extractor_steps or self.extractor_crop):
                raise ValueError("extractor_steps and extractor_crop belong to extractor: train")
            return self

    def build_model(self) -> SubcategoryNet:
        """Return the network of a round."""
        o = self.options
        backbone = nets.backbone(o.backbone, **o.backbone_options)
        return SubcategoryNet(backbone, len(self.classes), o.subcategories, dropout=o.dropout, head_init=o.head_init)

    def train(self, stage: Stage, fit: Fit) -> None:
        """Train round after round, each from the initial weights; the last in `stage.dir`, others in round_N.

        round_N/clusters.json holds the clusters that round N learns, round_N/features.safetensors what they were made
        from. What is finished is not done again.
        """
        o = self.options
        samples = usable_samples(self, stage.samples)
        backbone = self._first_extractor(stage, fit)
        for number in range(1, o.rounds + 1):
            name = f"round_{number}"
            now = Round(
                stage.dir / name,
                f"{stage.fingerprint}/{name}",
                number,
                samples,
                self.classes,
                o.subcategories,
                o.restarts,
            )
            clusters = now.clusters(backbone, self.normalization, stage.workers)
            ids = [sample.image_id for sample in samples]
            targets = {"subcategory": SubcategoryLabels(ids, clusters, o.subcategories)}
            if number == o.rounds:
                fit(self, stage.with_targets(targets))
            else:
                settings = _with_steps(stage.settings, o.earlier_steps[number - 1] if o.earlier_steps else None)
                backbone = fit(self, stage.part(name, targets, settings)).backbone  # type: ignore[assignment]

    def _first_extractor(self, stage: Stage, fit: Fit) -> nn.Module:
        o = self.options
        shared = {
            name: getattr(o, name)
            for name in ("backbone", "backbone_options", "dropout", "head_init", "lr_multipliers")
        }
        classifier = CAM(CAM.Options(**shared), self.classes)
        if o.extractor == "train":
            settings = _with_steps(stage.settings, o.extractor_steps)
            # The classifier is a paper of its own: its schedule ends where its training ends.
            changes: dict[str, Any] = {"schedule": settings.schedule.model_copy(update={"steps": None})}
            if o.extractor_crop:
                changes["augment"] = settings.augment.model_copy(update={"crop": o.extractor_crop})
            return fit(classifier, stage.part("round_0", {}, settings.model_copy(update=changes))).backbone  # type: ignore[return-value]
        model = classifier.build_model()
        checkpoint.load_initial(model, o.extractor)
        return model.to(processes.start()).eval().backbone

    def param_groups(self, model: nn.Module, optim: OptimSettings) -> list[dict[str, Any]]:
        """Return PSA's four groups: old weights, old biases, new weights, new biases, each at its own rate."""
        return psa_param_groups(model, model.new_layers, optim, multipliers=self.options.lr_multipliers)  # type: ignore[arg-type]

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform of classifier training."""
        return classification_transform(augment, normalize=self.normalization)

    def training_step(self, model: nn.Module, batch: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
        """Return {"parent", "sub"}; their sum is SC-CAM's loss."""
        parent, sub = model(batch["image"])
        return subcategory_losses(parent, sub, batch["label"], batch["target/subcategory"], self.options.lam)

    def scores(
        self, model: nn.Module, image: ByteArray, labels: tuple[int, ...] | None, infer: InferSettings
    ) -> ScoreMap:
        """Return the classes' own maps, each divided by its maximum; the sub-categories only help in training."""
        return multi_scale(
            model,
            image,
            labels,
            infer,
            normalization=self.normalization,
            forward=model.raw_cams,  # type: ignore[arg-type]
            class_threshold=self.options.class_threshold,
        )


def _with_steps(settings: TrainSettings, steps: int | None) -> TrainSettings:
    return settings if steps is None else settings.model_copy(update={"max_steps": steps, "epochs": None})
