"""PSA: an affinity network learnt from confident CAM pixels, and a random walk of the CAMs along its affinities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor
from wsseg_refine.classes import kept

from wsseg_cli.data.images import read_image
from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.data.transforms import Pipeline, affinity_transform
from wsseg_cli.engine.each import Work
from wsseg_cli.engine.optim import PSA_MULTIPLIERS, psa_param_groups
from wsseg_cli.errors import RecipeError
from wsseg_cli.ops.affinity import Border, Pairs, affinity_loss, feature_affinity, neighbour_pairs, pair_labels
from wsseg_cli.ops.crf import crf_parameters
from wsseg_cli.ops.random_walk import walk_radius
from wsseg_cli.plugin.protocols import (
    Arrays,
    Batch,
    Fit,
    Labels,
    Losses,
    NetworkOptions,
    ParamGroups,
    Refiner,
    Requirements,
    TrainingJob,
    Transform,
)
from wsseg_cli.settings import AugmentSettings, CrfSettings, InferSettings, LrMultipliers, OptimSettings
from wsseg_cli.types import ByteArray, FloatArray, Progress, Sample, ScoreMap, resize_scores

from .labels import affinity_scores, confident_labels
from .nets import FEATURE_MAPS, AffinityNet
from .preparation import LABEL_LONGEST, at_label_size, check_views, make_labels, mean_over_processes, network
from .walk import crf_after_walk, walked_scores


class PSAOptions(NetworkOptions):
    """Options of PSA; the defaults are the published ones of ResNet-38."""

    backbone: str = Field("resnet38", description="backbone of the affinity network")
    lr_multipliers: LrMultipliers = PSA_MULTIPLIERS
    low_alpha: float = Field(4.0, gt=0, description="labels: power of the strong background")
    high_alpha: float = Field(32.0, gt=0, description="labels: power of the weak background; 24 in SEAM and PPC")
    crf: CrfSettings = Field(CrfSettings(), description="labels: CRF of both; psa, in PPC ppc")
    label_stride: int = Field(
        1, ge=1, description="labels: stride at which they are stored; 8 takes a 64th of the disk space"
    )
    label_longest: int | None = Field(
        LABEL_LONGEST,
        ge=32,
        description="labels: longer side in pixels to which larger photos are shrunk; null: never",
    )
    radius: int = Field(5, ge=2, description="pairs are closer than this many cells, gamma")
    shrink_radius: bool = Field(False, description="smaller radius on maps with a side below 11, as in SEAM and PPC")
    border: Border = Field("reference", description="reference: pairs as published; full: all inside the grid")
    walk_alpha: float = Field(16.0, gt=0, description="walk: power of the background; 6 in SEAM")
    walk_threshold: float | None = Field(
        None, ge=0, le=1, description="walk: constant background in place of walk_alpha; 0.27 in PPC"
    )
    beta: float = Field(8.0, gt=0, description="walk: power of the affinities")
    steps_log2: int = Field(8, ge=0, le=20, description="walk: log2 of the number of steps; 6 in SEAM and PPC")
    crf_iterations: int = Field(0, ge=0, description="CRF steps after the walk, at the padded size; 1 in SEAM")
    max_norm: bool = Field(
        False, description="divide each class by its maximum after the walk, as IRN does; then without background"
    )

    @model_validator(mode="after")
    def _values_fit(self) -> PSAOptions:
        if self.low_alpha > self.high_alpha:
            raise ValueError(f"low_alpha {self.low_alpha} is above high_alpha {self.high_alpha}")
        try:
            crf_parameters(self.crf)
        except RecipeError as error:
            raise ValueError(str(error)) from None
        return self


class PSA(Refiner[PSAOptions, AffinityNet]):
    """AffinityNet and its random walk; the refined map has a background of its own, walked along with the classes.

    SEAM: high_alpha 24, walk_alpha 6, steps_log2 6, shrink_radius true, optionally crf_iterations 1.
    PPC: the same with `crf: ppc`, and walk_threshold 0.27 in place of walk_alpha.
    """

    paper = "Ahn and Kwak, CVPR 2018, https://arxiv.org/abs/1803.10464"

    @classmethod
    def requirements(cls, options: PSAOptions) -> Requirements:
        """Return what it asks for: three feature maps, and a training."""
        return Requirements(feature_maps=frozenset(FEATURE_MAPS))

    def build_model(self) -> AffinityNet:
        """Return the affinity network: on VGG-16 with fc6 of dilation 4 and normalised embeddings, as published."""
        if self.options.backbone == "vgg16":
            return AffinityNet(self.backbone(fc6_dilation=4), norm="group")
        return AffinityNet(self.backbone())

    @cached_property
    def stride(self) -> int:
        """Pixels per cell of the affinity network, 8 in the publication."""
        with torch.device("meta"):
            return self.build_model().backbone.stride

    def param_groups(self, model: AffinityNet, optim: OptimSettings) -> ParamGroups:
        """Return PSA's four groups: old weights, old biases, new weights, new biases, each at its own learning rate."""
        return psa_param_groups(model, model.new_layers, optim, multipliers=self.options.lr_multipliers)

    def train(self, job: TrainingJob, fit: Fit) -> None:
        """Run the CRF on every CAM with a strong and a weak background, then learn affinities from where they agree."""
        low, high = ScoreStore(job.dir / "labels" / "low"), ScoreStore(job.dir / "labels" / "high")
        make_labels(self, job, high.missing, _labeller, (low, high, self), self.options.crf)
        fit(self, job.with_targets({"scores": Marginals(low, high)}))

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform of AffinityNet; it gives the label of every cell as `mask` (h, w) int64."""
        return _LabelCells(affinity_transform(augment, normalize=self.normalization, pool=self.stride))

    def training_step(self, model: AffinityNet, batch: Batch, progress: Progress) -> Losses:
        """Return the loss of pairs of background, of pairs inside a class and of pairs across boundaries."""
        pairs = self._pairs(tuple(batch["mask"].shape[-2:]))
        affinity = feature_affinity(model(batch["image"]), pairs)
        loss = affinity_loss(affinity, pair_labels(batch["mask"], pairs), mean_over_processes)
        return {
            "background": loss.background / 4,
            "foreground": loss.foreground / 4,
            "negative": loss.negative / 2,
        }

    def refine(
        self,
        model: AffinityNet | None,
        image: ByteArray,
        labels: Labels,
        coarse: ScoreMap,
        infer: InferSettings,
    ) -> ScoreMap:
        """Return the walked scores of the kept classes and of the background at image size, each in [0, 1].

        Raises:
            DataError: the map does not fit the image. RecipeError: the walk does not support these views.
        """
        check_views(infer, "psa", flip=False)
        coarse = kept(coarse, labels, image)
        height, width = coarse.size
        if len(coarse.classes) == 0:
            nothing = np.zeros((0, height, width), np.float32)
            everywhere = None if self.options.max_norm else np.ones((height, width), np.float32)
            return ScoreMap(coarse.image_id, coarse.classes, nothing, coarse.size, everywhere)
        o = self.options
        scores = coarse.full(o.walk_threshold, power=o.walk_alpha)
        affinity, pairs = self.affinities(network(model, "psa"), image)
        walked = walked_scores(
            torch.from_numpy(scores).to(affinity.device),
            affinity,
            pairs,
            beta=o.beta,
            steps_log2=o.steps_log2,
            stride=self.stride,
        )
        maps: FloatArray = walked.cpu().numpy()
        if o.crf_iterations:
            maps = crf_after_walk(image, maps, len(self.classes) + 1, o.crf_iterations)
        maps = maps[:, :height, :width]
        if o.max_norm:
            scores = maps[1:] / np.maximum(maps[1:].max(axis=(1, 2), keepdims=True), 1e-5)
            return ScoreMap(coarse.image_id, coarse.classes, scores, coarse.size)
        return ScoreMap(coarse.image_id, coarse.classes, maps[1:], coarse.size, maps[0])

    def label_scores(self, image: ByteArray, coarse: ScoreMap, device: str = "cpu") -> tuple[FloatArray, FloatArray]:
        """Return the marginals that labels are made from, for low and for high alpha, each (1+K, H, W)."""
        o = self.options
        scores = resize_scores(coarse.scores, coarse.size)
        low, high = (
            affinity_scores(image, scores, coarse.classes, len(self.classes), alpha, o.crf, device=device)
            for alpha in (o.low_alpha, o.high_alpha)
        )
        return low, high

    def affinities(self, model: AffinityNet, image: ByteArray) -> tuple[Tensor, Pairs]:
        """Return the affinities (P,) of an image (H, W, 3) uint8, padded with the mean colour, and their pairs."""
        device = next(model.parameters()).device
        pixels = torch.from_numpy(self.normalization.apply(image)).permute(2, 0, 1)
        padded = F.pad(pixels, (0, -image.shape[1] % self.stride, 0, -image.shape[0] % self.stride))
        features = model(padded[None].to(device))
        pairs = self._pairs(tuple(features.shape[-2:]))
        affinity = feature_affinity(features, pairs)[0]
        # The walk computes in float64, which Apple's GPUs do not support.
        return affinity if device.type in ("cpu", "cuda") else affinity.cpu(), pairs

    def _pairs(self, size: tuple[int, ...]) -> Pairs:
        grid = int(size[0]), int(size[1])
        radius = walk_radius(grid, self.options.radius) if self.options.shrink_radius else self.options.radius
        return neighbour_pairs(grid, max(radius, 1), self.options.border)


@dataclass(frozen=True)
class Marginals(Mapping[str, FloatArray]):
    """The CRF's marginals by image id, (2 (1 + K), H, W): background and classes of low alpha, then of high alpha."""

    low: ScoreStore
    high: ScoreStore

    def __getitem__(self, image_id: str) -> FloatArray:
        """Return the marginals of one image, read now.

        Raises:
            DataError: there is no file for it, or it is broken.
        """
        return np.concatenate([self.low[image_id].full(), self.high[image_id].full()])

    def __iter__(self) -> Iterator[str]:
        return iter(self.high)

    def __len__(self) -> int:
        return len(self.high)


@dataclass(frozen=True)
class _LabelCells:
    """The published transform of image and marginals, then one label for each cell."""

    pipeline: Pipeline

    def __call__(self, arrays: Arrays, rng: np.random.Generator) -> dict[str, Tensor]:
        moved = {name: value for name, value in arrays.items() if name != "target/scores"}
        tensors = self.pipeline(moved | {"scores": arrays["target/scores"]}, rng)
        low, high = np.split(tensors.pop("scores").numpy(), 2)
        return tensors | {"mask": torch.from_numpy(confident_labels(low, high).astype(np.int64))}


def _labeller(
    samples: Mapping[str, Sample],
    cams: Mapping[str, ScoreMap],
    device: str,
    low: ScoreStore,
    high: ScoreStore,
    refiner: PSA,
) -> Work:
    """Return the function that writes the marginals of one image, those of high alpha last."""

    def write(image_id: str) -> None:
        sample = samples[image_id]
        image = read_image(sample.image, sample.orientation)
        coarse, o = kept(cams[image_id], sample.labels, image), refiner.options
        small, seen = at_label_size(image, coarse, o.label_longest)
        for store, q in zip((low, high), refiner.label_scores(small, seen, device), strict=True):
            store.write(ScoreMap(image_id, coarse.classes, q[1:], coarse.size, q[0]), o.label_stride, seen.size)

    return write
