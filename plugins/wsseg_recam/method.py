"""ReCAM: class activation maps re-activated by a second class layer, which learns with softmax cross-entropy.

Written from the paper's mathematics (Chen et al., CVPR 2022) and not compared with its code:

- The first class layer, w, is plain CAM's: its pooled scores learn with the multi-label soft margin loss ("cls").
- For each class k of an image, A_k = relu(w_k f) / (max + 1e-5) weights the features f cell by cell, and the mean over
  the cells is a feature of that class alone.
- The second class layer, w', sees this feature. Its softmax cross-entropy with the one label k is averaged over the
  classes of an image, then over the images ("sce"). A sigmoid lets classes that occur together share their scores; a
  softmax makes them compete.
- The loss is cls + lam * sce; its gradient reaches the features, both layers, and w through A_k as well.
- The maps are relu((w_k * w'_k) f), the product taken element by element; views and normalisation are plain CAM's.
"""

from __future__ import annotations

from functools import partial

from pydantic import Field
from torch import Tensor
from wsseg_cam.classifier import CamOptions, Classifier

from wsseg_cli.nets.class_layer import HeadInit
from wsseg_cli.ops.cam import STRIDE, multi_scale
from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.ops.pooling import global_average
from wsseg_cli.plugin.protocols import Batch, Labels, Losses
from wsseg_cli.settings import InferSettings, LrMultipliers, NotNegative
from wsseg_cli.types import ByteArray, Progress, ScoreMap

from .loss import softmax_cross_entropy
from .net import ClassWeights, ReCAMNet


class ReCAMOptions(CamOptions):
    """Options of ReCAM; those that plain CAM has as well are set as in IRN, on whose CAM the paper builds."""

    backbone: str = Field("resnet50", description="backbone of the classifier")
    lr_multipliers: LrMultipliers = (1.0, 1.0, 10.0, 10.0)
    dropout: float = Field(0.0, ge=0, lt=1, description="channels of the last feature map dropped in training")
    head_init: HeadInit = Field("uniform", description="what the two class layers start from; zero for few images")
    lam: NotNegative = Field(1.0, description="weight of the softmax cross-entropy (lambda)")
    sce_after: int = Field(-1, ge=-1, description="last step with weight 0 of the softmax cross-entropy; -1: none")
    map_weights: ClassWeights = Field(
        "product", description="class weights of the maps: the first layer's, the second's, their product or sum"
    )


class ReCAM(Classifier[ReCAMOptions, ReCAMNet]):
    """A second class layer, on the features under each class's map, makes the classes compete."""

    paper = "Chen et al., CVPR 2022, https://arxiv.org/abs/2203.00962"
    gives_strided = True
    sees_windows = True

    @property
    def decay_biases(self) -> bool:
        """Biases have weight decay too, as in IRN."""
        return True

    def build_model(self) -> ReCAMNet:
        """Return the classifier."""
        o = self.options
        return ReCAMNet(self.backbone(), len(self.classes), dropout=o.dropout, head_init=o.head_init)

    def training_step(self, model: ReCAMNet, batch: Batch, progress: Progress) -> Losses:
        """Return {"cls", "sce"}; until step `sce_after` the second has weight 0 and gradients of zeros."""
        o, labels = self.options, batch["label"]
        scores, of_classes = model(batch["image"])
        sce = softmax_cross_entropy(of_classes, labels)
        return {"cls": multilabel_soft_margin(scores, labels), "sce": o.lam * (progress.step > o.sce_after) * sce}

    def scores(self, model: ReCAMNet, image: ByteArray, labels: Labels, infer: InferSettings) -> ScoreMap:
        """Return the maps of the image's (or the predicted) classes, each divided by its maximum.

        Which classes are predicted is said by the first layer alone.
        """
        return multi_scale(
            model,
            image,
            labels,
            infer,
            normalization=self.normalization,
            forward=partial(model.raw_cams, weights=self.options.map_weights),
            activation=_reactivated,
            logits=_class_scores,
            class_threshold=self.options.class_threshold,
            multiple=16,
            stride=STRIDE,
        )


def _reactivated(maps: Tensor) -> Tensor:
    return maps.chunk(2, 1)[1].relu()


def _class_scores(maps: Tensor) -> Tensor:
    return global_average(maps.chunk(2, 1)[0])
