"""PPC: SEAM or EPS, and a contrast between pixels and prototypes of the classes; one plugin for both bases."""

from __future__ import annotations

from wsseg_cam.classifier import Classifier
from wsseg_eps.method import softmax_scores
from wsseg_eps.sizes import require_image_sizes
from wsseg_seam.method import revised_scores

from wsseg_cli.engine import processes
from wsseg_cli.plugin.protocols import Batch, Fit, Labels, Losses, Requirements, TrainingJob
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ByteArray, Progress, ScoreMap

from .contrast import contrast
from .net import PpcEpsNet, PpcSeamNet
from .options import PPCOptions
from .pixels import random_keys
from .views import contrast_views_on_eps, contrast_views_on_seam


class PPC(Classifier[PPCOptions, PpcSeamNet | PpcEpsNet]):
    """Pixel-to-prototype contrast on SEAM or EPS."""

    paper = "Du et al., CVPR 2022, https://arxiv.org/abs/2110.07110"
    sees_windows = True

    @classmethod
    def requirements(cls, options: PPCOptions) -> Requirements:
        """Return what it asks for: three feature maps, and on EPS a saliency map of each training image."""
        return Requirements(
            training=frozenset({"saliency"} if options.base == "eps" else ()),
            feature_maps=frozenset({"conv4", "conv5", "conv6"}),
        )

    def build_model(self) -> PpcSeamNet | PpcEpsNet:
        """Return the classifier of the base with a projection."""
        o = self.options
        net: type[PpcSeamNet | PpcEpsNet] = PpcSeamNet if o.base == "seam" else PpcEpsNet
        return net(
            self.backbone(),
            len(self.classes),
            dropout=o.dropout_of_base(),
            projection=o.projection,
            head_init=o.head_init,
        )

    def train(self, job: TrainingJob, fit: Fit) -> None:
        """Check the saliency maps if the base reads any, then train.

        Raises:
            DataError: maps and their images differ in size, unless `resize_saliency` is set.
        """
        if self.required.training and not self.options.resize_saliency:
            require_image_sizes(job.samples)
        fit(self, job)

    def training_step(self, model: PpcSeamNet | PpcEpsNet, batch: Batch, progress: Progress) -> Losses:
        """Return the base's losses and {"cross_prototype", "cross_label", "intra"}."""
        o = self.options
        images, labels, size = batch["image"], batch["label"], (o.view_size, o.view_size)
        if isinstance(model, PpcSeamNet):
            losses, views = contrast_views_on_seam(model, images, labels, size, pool=o.min_pool, top=o.ecr_top)
        else:
            losses, views = contrast_views_on_eps(
                model,
                images,
                batch["saliency"],
                labels,
                size,
                tau=o.tau,
                lam=o.lam,
                bg_first_bug=o.ecr_bg_first_bug,
                revised_saliency=o.revised_saliency,
                pool=o.min_pool,
                top=o.ecr_top,
            )
        rules = o.rules(len(self.classes.with_background))
        places = processes.gather(batch["index"])
        keys = [random_keys(progress.seed, progress.step, view, places, rules.grid**2) for view in (0, 1)]
        return losses | contrast(*views, labels, rules, (keys[0], keys[1]))

    def scores(self, model: PpcSeamNet | PpcEpsNet, image: ByteArray, labels: Labels, infer: InferSettings) -> ScoreMap:
        """Return the maps as the base makes them: on SEAM the revised ones, on EPS the softmax of the raw ones."""
        pixels, threshold = self.normalization, self.options.class_threshold
        if isinstance(model, PpcSeamNet):
            return revised_scores(model, image, labels, infer, normalization=pixels, class_threshold=threshold)
        forward = model.raw_cams
        return softmax_scores(
            model, image, labels, infer, normalization=pixels, class_threshold=threshold, forward=forward
        )
