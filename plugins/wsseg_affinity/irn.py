"""IRN: class boundaries learnt from confident CAM pixels, and a random walk of the CAMs, stopped by boundaries."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor
from wsseg_refine.classes import kept

from wsseg_cli.data.images import read_image
from wsseg_cli.data.stores import MaskStore
from wsseg_cli.data.transforms import Pipeline, segmentation_transform
from wsseg_cli.engine.each import Work
from wsseg_cli.errors import RecipeError
from wsseg_cli.ops.affinity import AffinityLoss, Border, affinity_loss, pair_labels
from wsseg_cli.ops.cam import STRIDE
from wsseg_cli.ops.crf import crf_parameters
from wsseg_cli.ops.paths import path_affinity, path_pairs
from wsseg_cli.ops.random_walk import edge_walk
from wsseg_cli.ops.resize import pillow_resize, strided_size
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
from wsseg_cli.settings import AugmentSettings, CrfSettings, InferSettings, OptimSettings
from wsseg_cli.types import ByteArray, ClassNames, FloatArray, Progress, Sample, ScoreMap, resize_scores

from .irn_labels import irn_confident_labels, scores_at_size
from .irn_loss import irn_loss
from .irn_net import FEATURE_MAPS, IRNet
from .preparation import LABEL_LONGEST, at_label_size, check_views, make_labels, mean_over_processes, network

_NORM_EPS = {"irn": 1e-5, "rsepm": 1e-3}


class IRNOptions(NetworkOptions):
    """Options of IRN; the defaults are the published ones."""

    backbone: str = Field("resnet50", description="backbone, which does not learn; it needs the feature map conv2")
    network: Literal["irn", "rsepm"] = Field(
        "irn", description="irn: boundaries and displacements; rsepm: only boundaries"
    )
    norm_eps: float | None = Field(
        None, gt=0, description="eps of the group norms; null: 1e-5, and 1e-3 for network rsepm. PuzzleCAM: 1e-5"
    )
    displacement_rate: float = Field(10.0, gt=0, description="learning rate of the displacement head, in multiples")
    foreground: float = Field(0.30, ge=0, le=1, description="labels: score from which a pixel certainly is a class")
    background: float = Field(0.05, ge=0, le=1, description="labels: score below which it certainly is background")
    crf: CrfSettings = Field(CrfSettings(preset="irn"), description="labels: CRF of both, from hard labels")
    label_longest: int | None = Field(
        LABEL_LONGEST,
        ge=32,
        description="labels: longer side in pixels to which larger photos are shrunk; null: never",
    )
    radius: int = Field(10, ge=2, description="training: pairs are closer than this many cells of four pixels")
    border: Border = Field("reference", description="training: pairs as published, or full: all inside the grid")
    walk_radius: int = Field(5, ge=2, description="walk: the same; all pairs inside the image count")
    beta: float = Field(10.0, gt=0, description="walk: power of the affinities")
    steps_log2: int = Field(8, ge=0, le=20, description="walk: log2 of the number of steps")
    padded: int = Field(512, ge=16, description="images are padded to this side, which the group norms see")

    @model_validator(mode="after")
    def _values_fit(self) -> IRNOptions:
        if self.background > self.foreground:
            raise ValueError(f"background {self.background} is above foreground {self.foreground}")
        try:
            unary = crf_parameters(self.crf).unary
        except RecipeError as error:
            raise ValueError(str(error)) from None
        if unary != "labels":
            raise ValueError(f"crf: preset {self.crf.preset!r} starts from scores; IRN's labels need irn or ppc")
        return self


class IRN(Refiner[IRNOptions, IRNet]):
    """Boundary (and displacement) network and its random walk; the refined map has no background of its own.

    The published result is the highest of 0.25 and the walked scores: `pseudo.background: {threshold: 0.25}`.
    PuzzleCAM and RecurSeed: network rsepm, foreground 0.40, background 0.10; PuzzleCAM also norm_eps 1e-5.
    The walk starts from `ScoreMap.strided`, as published, or from shrunk `scores` if there is none.
    """

    paper = "Ahn, Cho and Kwak, CVPR 2019, https://arxiv.org/abs/1904.05044"

    @classmethod
    def requirements(cls, options: IRNOptions) -> Requirements:
        """Return what it asks for: five feature maps, a training, and score maps on the grid of the walk."""
        return Requirements(feature_maps=frozenset(FEATURE_MAPS), strided=True)

    def build_model(self) -> IRNet:
        """Return the boundary network, with the displacement head unless `network` is rsepm."""
        o = self.options
        eps = o.norm_eps or _NORM_EPS[o.network]
        return IRNet(self.backbone(frozen="whole"), displacement=o.network == "irn", eps=eps)

    def param_groups(self, model: IRNet, optim: OptimSettings) -> ParamGroups:
        """Return the boundary head's group and the displacement head's at its own rate; biases decay too."""
        groups: ParamGroups = [{"params": list(model.edge.parameters()), "lr": optim.lr}]
        if model.displacement is not None:
            rate = optim.lr * self.options.displacement_rate
            groups.append({"params": list(model.displacement.parameters()), "lr": rate})
        return groups

    def train(self, job: TrainingJob, fit: Fit) -> None:
        """Make labels from every CAM by two thresholds and a CRF, then learn the boundaries between them."""
        store = MaskStore(job.dir / "labels")
        make_labels(self, job, store.missing, _labeller, (store, self), self.options.crf)
        fit(self, job.with_targets({"mask": LabelMasks(store, self.classes)}))

    def train_transform(self, augment: AugmentSettings) -> Transform:
        """Return the transform of image and labels; `mask` is at a quarter of the size, (h, w) int64."""
        return _QuarterMask(segmentation_transform(augment, normalize=self.normalization))

    def training_step(self, model: IRNet, batch: Batch, progress: Progress) -> Losses:
        """Return the losses of affinities and, with the displacement head, of displacements."""
        edge, field = model(batch["image"])
        pairs = path_pairs((int(edge.shape[-2]), int(edge.shape[-1])), self.options.radius, self.options.border)
        labels = pair_labels(batch["mask"], pairs)
        if field is None:
            affinity = path_affinity(torch.sigmoid(edge[:, 0]), pairs)
            return _affinity_parts(affinity_loss(affinity, labels, mean_over_processes))
        loss = irn_loss(edge, field, labels, pairs, mean_over_processes)
        return _affinity_parts(loss.affinity) | {
            "inside": loss.foreground / 2,
            "outside": loss.background / 2,
        }

    def refine(
        self,
        model: IRNet | None,
        image: ByteArray,
        labels: Labels,
        coarse: ScoreMap,
        infer: InferSettings,
    ) -> ScoreMap:
        """Return the walked scores of the kept classes at image size, divided by their common maximum.

        The network always sees the image and its horizontal flip.

        Raises:
            DataError: the map does not fit the image. RecipeError: the walk does not support these views.
        """
        check_views(infer, "irn", flip=True)
        coarse = kept(coarse, labels, image)
        if len(coarse.classes) == 0:
            return ScoreMap(coarse.image_id, coarse.classes, np.zeros((0, *coarse.size), np.float32), coarse.size)
        o = self.options
        edge = self.edge(network(model, "irn"), image)
        start = torch.from_numpy(self.walk_start(coarse)).to(edge.device)
        walked = edge_walk(start, edge, radius=o.walk_radius, beta=o.beta, steps_log2=o.steps_log2)
        return ScoreMap(coarse.image_id, coarse.classes, scores_at_size(walked, coarse.size).cpu().numpy(), coarse.size)

    def walk_start(self, coarse: ScoreMap) -> FloatArray:
        """Return the scores that the walk starts from, (K, (H-1)//4+1, (W-1)//4+1)."""
        scores = coarse.scores if coarse.strided is None else coarse.strided
        return resize_scores(scores, strided_size(coarse.size, STRIDE))

    def confident_labels(self, image: ByteArray, coarse: ScoreMap, device: str = "cpu") -> ByteArray:
        """Return what the network learns from one image, (H, W) uint8 mask values, 255 unsure."""
        o = self.options
        scores = resize_scores(coarse.scores, coarse.size)
        return irn_confident_labels(image, scores, coarse.classes, o.foreground, o.background, o.crf, device=device)

    def edge(self, model: IRNet, image: ByteArray) -> Tensor:
        """Return the boundary probability of an image (H, W, 3) uint8, (h, w) at a quarter of its size."""
        device = next(model.parameters()).device
        pixels = torch.from_numpy(self.normalization.apply(image)).permute(2, 0, 1).to(device)
        edge = model.infer(pixels, self.options.padded)[0][0]
        # The walk computes in float64, which Apple's GPUs do not support.
        return edge if device.type in ("cpu", "cuda") else edge.cpu()


def _affinity_parts(loss: AffinityLoss) -> dict[str, Tensor]:
    return {"background": loss.background / 4, "foreground": loss.foreground / 4, "negative": loss.negative / 2}


@dataclass(frozen=True)
class LabelMasks(Mapping[str, ByteArray]):
    """The confident labels by image id, (H, W) uint8: class values, 0 background, 255 unsure."""

    store: MaskStore
    classes: ClassNames

    def __getitem__(self, image_id: str) -> ByteArray:
        """Return the labels of one image, read now.

        Raises:
            StageError: there is no file for it. DataError: the file is broken.
        """
        return self.store.read(image_id, self.classes)

    def __iter__(self) -> Iterator[str]:
        return (path.stem for path in sorted(self.store.folder.glob(f"*{self.store.suffix}")))

    def __len__(self) -> int:
        return sum(1 for _ in self)


@dataclass(frozen=True)
class _QuarterMask:
    """The transform of image and mask, then the mask by Pillow's nearest rule at a quarter of the size."""

    pipeline: Pipeline

    def __call__(self, arrays: Arrays, rng: np.random.Generator) -> dict[str, Tensor]:
        moved = {name: value for name, value in arrays.items() if name != "target/mask"}
        tensors = self.pipeline(moved | {"mask": arrays["target/mask"]}, rng)
        mask = tensors["mask"].numpy().astype(np.uint8)
        small = pillow_resize(mask, strided_size((mask.shape[0], mask.shape[1]), STRIDE), "nearest")
        return tensors | {"mask": torch.from_numpy(small.astype(np.int64))}


def _labeller(
    samples: Mapping[str, Sample],
    cams: Mapping[str, ScoreMap],
    device: str,
    store: MaskStore,
    refiner: IRN,
) -> Work:
    """Return the function that writes the labels of one image."""

    def write(image_id: str) -> None:
        sample = samples[image_id]
        image = read_image(sample.image, sample.orientation)
        coarse = kept(cams[image_id], sample.labels, image)
        small, seen = at_label_size(image, coarse, refiner.options.label_longest)
        labels = refiner.confident_labels(small, seen, device)
        store.write(image_id, labels if seen.size == coarse.size else pillow_resize(labels, coarse.size, "nearest"))

    return write
