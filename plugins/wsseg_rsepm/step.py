"""One training step of RecurSeed + EdgePredictMix: what a pass gives, its targets, the mixed batch, the losses."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.ops.pamr import pamr_of
from wsseg_cli.types import IGNORE

from .maps import enlarged, inside_boxes, seed_maps, to_one
from .mix import decoder_probabilities, draw_pasting, edge_labels, steepest_step
from .net import Outputs, RsepmNet
from .recur import (
    certain_filter,
    reconstruction_loss,
    refined_seeds,
    segmentation_loss,
    spread_seeds,
    without_lost_classes,
)
from .scg import ScgParameters


@dataclass(frozen=True)
class StepRules:
    """Values of a step.

    Attributes:
        scg: self-correlation; spread: whether it is used; feature_maps: its feature maps, None for all.
        pamr_scale: size of PAMR relative to the crop; pamr_iterations, pamr_dilations: its values.
        certain, uncertain: c and u of the certain filter.
        edge: tau_e of EdgePredictMix; None for CertainMix.
        reconstruction, segmentation, mixed_class: weights of the losses.
        segmentation_at: size of the segmentation loss.
    """

    scg: ScgParameters
    certain: float
    uncertain: float
    spread: bool = True
    feature_maps: tuple[str, ...] | None = None
    pamr_scale: float = 0.5
    pamr_iterations: int = 10
    pamr_dilations: tuple[int, ...] = (1, 2, 4, 8, 12, 24)
    edge: float | None = None
    reconstruction: float = 1.0
    segmentation: float = 1.0
    mixed_class: float = 0.0
    segmentation_at: Literal["image", "logits"] = "image"


@dataclass(frozen=True)
class Seen:
    """A batch and the network's outputs for it, in float32.

    Attributes:
        images: (N, 3, H, W); labels: (N, C) multi-hot; boxes: (N, 4) of the pictures in their crops.
        cams: (N, C, h, w) raw; logits: (N, 1+C, h4, w4); features: maps by name.
        cells: (N, h, w) bool, cells inside; pixels: (N, H, W) bool.
    """

    images: Tensor
    labels: Tensor
    boxes: Tensor
    cams: Tensor
    logits: Tensor
    features: dict[str, Tensor]
    cells: Tensor
    pixels: Tensor

    def class_loss(self) -> Tensor:
        """Return the multi-label soft margin loss of the class maps' means inside the boxes."""
        return multilabel_soft_margin(_mean_inside(self.cams, self.cells), self.labels)


@dataclass(frozen=True)
class Targets:
    """What the step learns from.

    Attributes:
        seeds: (N, C, H, W) refined seeds in [0, 1].
        mask: (N, H, W) int64, certain pixels of the seeds.
        mix_mask: (N, H, W) int64, certain pixels of the decoder, for mixing.
    """

    seeds: Tensor
    mask: Tensor
    mix_mask: Tensor | None


@dataclass(frozen=True)
class Mixed:
    """A mixed batch and its targets.

    Attributes:
        images: (N, 3, H, W); seeds: (N, C, H, W); mask: (N, H, W) int64; inside: (N, H, W) bool.
        labels: (N, C), classes whose seeds are certain somewhere; class_labels: those, and the classes of the mask.
        mixed: (N,) bool, False for images left as they were: only mixed ones count in the class losses.
    """

    images: Tensor
    seeds: Tensor
    mask: Tensor
    inside: Tensor
    labels: Tensor
    class_labels: Tensor
    mixed: Tensor


def first_pass(network: RsepmNet, images: Tensor, labels: Tensor, boxes: Tensor) -> Seen:
    """Return the network's outputs for a batch."""
    out = network(images)
    cams = out.cams.float()
    return Seen(
        images.float(),
        labels,
        boxes,
        cams,
        out.mask_logits.float(),
        out.features,
        inside_boxes(boxes, images, (cams.shape[2], cams.shape[3])),
        inside_boxes(boxes, images, (images.shape[2], images.shape[3])),
    )


@torch.no_grad()
def refined_targets(seen: Seen, rules: StepRules, mix: bool) -> Targets:
    """Return the targets that a pass gives: class maps, spread (SCG), refined (PAMR), filtered; the decoder likewise.

    mix: also the masks for mixing.
    """
    # SCG and PAMR add 1e-10 to sums, which would vanish in half precision
    with torch.autocast(seen.images.device.type, enabled=False):
        height, width = seen.images.shape[2:]
        size = (max(1, round(height * rules.pamr_scale)), max(1, round(width * rules.pamr_scale)))
        maps = seed_maps(seen.cams, seen.labels, seen.cells)
        if rules.spread:
            maps = spread_seeds(maps, _features(seen, rules), seen.labels, seen.cells, rules.scg)
        small = enlarged(seen.images, size)
        maps, labels, classes = enlarged(maps, size), seen.labels, seen.labels.shape[1]
        if mix:
            # one PAMR for both: its weights come from the image alone
            maps = torch.cat([maps, decoder_probabilities(seen.logits, seen.labels, size)], 1)
            labels = torch.cat([labels, torch.ones_like(labels[:, :1]), labels], 1)
        maps = pamr_of(labels > 0, small, maps, iterations=rules.pamr_iterations, dilations=rules.pamr_dilations)
        seeds = refined_seeds(maps[:, :classes], seen.labels, seen.pixels)
        mask = certain_filter(seeds, seen.pixels, rules.certain, rules.uncertain)
        mix_mask = _mix_mask(seen, maps[:, classes:], rules) if mix else None
        return Targets(seeds, without_lost_classes(mask, seeds, seen.labels), mix_mask)


def _features(seen: Seen, rules: StepRules) -> Iterator[Tensor]:
    return (seen.features[feature_map].float() for feature_map in rules.feature_maps or seen.features)


def _mix_mask(seen: Seen, probabilities: Tensor, rules: StepRules) -> Tensor:
    full = enlarged(probabilities, (seen.images.shape[2], seen.images.shape[3]))
    if rules.edge is None:
        return certain_filter(to_one(full[:, 1:] * seen.pixels[:, None]), seen.pixels, rules.certain, rules.uncertain)
    inside = inside_boxes(seen.boxes, seen.images, (probabilities.shape[2], probabilities.shape[3]))
    return edge_labels(full, steepest_step(probabilities, inside), seen.pixels, rules.certain, rules.edge)


def recursion_losses(seen: Seen, targets: Targets, rules: StepRules) -> dict[str, Tensor]:
    """Return {"rec", "seg"}: class maps against refined seeds, the decoder against their certain pixels."""
    with torch.autocast(seen.images.device.type, enabled=False):
        maps = seed_maps(seen.cams, seen.labels, seen.cells)
        rec = reconstruction_loss(maps, targets.seeds, seen.labels, seen.cells)
        seg = segmentation_loss(seen.logits, targets.mask, rules.segmentation_at)
    return {"rec": rules.reconstruction * rec, "seg": rules.segmentation * seg}


@torch.no_grad()
def mixed_batch(seen: Seen, targets: Targets, rules: StepRules) -> Mixed:
    """Return the batch with objects pasted into it, drawn from torch's generator."""
    if targets.mix_mask is None:
        raise ValueError("there are no masks to mix")
    pasting = draw_pasting(targets.mix_mask, seen.labels.shape[1])
    mask = torch.where(pasting.mixed[:, None, None], pasting.paste(targets.mix_mask), IGNORE)
    seeds = pasting.paste(targets.seeds)
    labels = (seeds.amax((2, 3)) >= rules.certain).to(seen.labels)
    values = torch.arange(1, labels.shape[1] + 1, device=mask.device)
    shown = torch.stack([torch.isin(values, m) for m in mask]).to(labels)
    return Mixed(
        pasting.paste(seen.images),
        seeds,
        mask,
        seen.pixels | pasting.region,
        labels,
        torch.maximum(labels, shown),
        pasting.mixed,
    )


def mixed_losses(network: RsepmNet, mixed: Mixed, rules: StepRules) -> dict[str, Tensor]:
    """Return {"rec_mix", "seg_mix"}, and "cls_mix" if it has a weight, of a second pass on the mixed batch."""
    out: Outputs = network(mixed.images)
    with torch.autocast(mixed.images.device.type, enabled=False):
        cams = out.cams.float()
        size = (cams.shape[2], cams.shape[3])
        # a cell is inside if any of its pixels is
        cells = F.adaptive_max_pool2d(mixed.inside[:, None].float(), size)[:, 0] > 0
        counted = mixed.labels * mixed.mixed[:, None]
        rec = reconstruction_loss(seed_maps(cams, mixed.labels, cells), mixed.seeds, counted, cells)
        seg = segmentation_loss(out.mask_logits.float(), mixed.mask, rules.segmentation_at)
        losses = {"rec_mix": rules.reconstruction * rec, "seg_mix": rules.segmentation * seg}
        if rules.mixed_class:
            entries = F.binary_cross_entropy_with_logits(
                _mean_inside(cams, cells), mixed.class_labels, reduction="none"
            ).mean(1)
            weights = mixed.mixed.to(entries)
            losses["cls_mix"] = rules.mixed_class * (entries * weights).sum() / weights.sum().clamp(min=1)
    return losses


def _mean_inside(maps: Tensor, cells: Tensor) -> Tensor:
    weights = cells[:, None].to(maps)
    return (maps * weights).sum((2, 3)) / weights.sum((2, 3)).clamp(min=1)
