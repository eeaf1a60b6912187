"""PPC: SEAM or EPS, and a contrast between pixels and prototypes of the classes; one plugin for both bases."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from wsseg_eps.method import softmax_scores
from wsseg_eps.sizes import require_image_sizes
from wsseg_seam.method import revised_scores

from wsseg_cli import nets
from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.engine import processes
from wsseg_cli.engine.optim import psa_param_groups
from wsseg_cli.plugin.protocols import Fit, Method, PluginOptions, Stage, Transform
from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings
from wsseg_cli.types import ByteArray, ClassNames, Progress, ScoreMap

from .contrast import contrast
from .net import PpcEpsNet, PpcSeamNet
from .options import PPCOptions
from .pixels import random_keys
from .views import contrast_views_on_eps, contrast_views_on_seam


class PPC(Method):
    """Pixel-to-prototype contrast on SEAM or EPS."""

    paper = "Du et al., CVPR 2022, https://arxiv.org/abs/2110.07110"
    feature_maps = frozenset({"conv4", "conv5", "conv6"})

    Options = PPCOptions

    def __init__(self, options: PluginOptions, classes: ClassNames) -> None:
        super().__init__(options, classes)
        # What a sample must bring depends on the base.
        self.needs = frozenset({"saliency"} if self.options.base == "eps" else ())  # type: ignore[misc]

    def build_model(self) -> PpcSeamNet | PpcEpsNet:
        """Return the classifier of the base with a projection."""
        o = self.options
        net = PpcSeamNet if o.base == "seam" else PpcEpsNet
        backbone = nets.backbone(o.backbone, **o.backbone_options)
        return net(
            backbone, len(self.classes), dropout=o.dropout_of_base(), projection=o.projection, head_init=o.head_init
        )

    def param_groups(self, model: nn.Module, optim: OptimSettings) -> list[dict[str, Any]]:
        """Return PSA's four groups: old weights, old biases, new weights, new biases, each at its own rate."""
        return psa_param_groups(model, model.new_layers, optim, multipliers=self.options.lr_multipliers)  # type: ignore[arg-type]

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform of classifier training; saliency, if the base reads it, moves with its image."""
        return classification_transform(augment, normalize=self.normalization, with_=self.needs)

    def train(self, stage: Stage, fit: Fit) -> None:
        """Check the saliency maps if the base reads any, then train.

        Raises:
            DataError: maps of another size than their image, unless `resize_saliency` is set.
        """
        if self.needs and not self.options.resize_saliency:
            require_image_sizes(stage.samples)
        fit(self, stage)

    def training_step(self, model: nn.Module, batch: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
        """Return the base's losses and {"cross_prototype", "cross_label", "intra"}."""
        o = self.options
        images, labels, size = batch["image"], batch["label"], (o.view_size, o.view_size)
        shares = {"pool": o.min_pool, "top": o.ecr_top}
        if o.base == "seam":
            losses, views = contrast_views_on_seam(model, images, labels, size, **shares)  # type: ignore[arg-type]
        else:
            losses, views = contrast_views_on_eps(
                model,  # type: ignore[arg-type]
                images,
                batch["saliency"],
                labels,
                size,
                tau=o.tau,
                lam=o.lam,
                bg_first_bug=o.ecr_bg_first_bug,
                revised_saliency=o.revised_saliency,
                **shares,
            )
        rules = o.rules(len(self.classes.with_background))
        places = processes.gather(batch["index"])
        keys = [random_keys(progress.seed, progress.step, view, places, rules.grid**2) for view in (0, 1)]
        return losses | contrast(*views, labels, rules, (keys[0], keys[1]))

    def scores(
        self, model: nn.Module, image: ByteArray, labels: tuple[int, ...] | None, infer: InferSettings
    ) -> ScoreMap:
        """Return the maps as the base makes them: on SEAM the revised ones, on EPS the softmax of the raw ones."""
        shared = {"normalization": self.normalization, "class_threshold": self.options.class_threshold}
        if self.options.base == "seam":
            return revised_scores(model, image, labels, infer, **shared)
        return softmax_scores(model, image, labels, infer, forward=model.raw_cams, **shared)  # type: ignore[arg-type]
