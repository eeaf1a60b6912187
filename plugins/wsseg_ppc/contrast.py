"""Pixel-to-prototype contrast: pseudo labels, prototypes of the whole batch, and the three losses between two views."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from wsseg_seam.channels import Background, known_labels
from wsseg_seam.pcm import resized

from wsseg_cli.engine import processes
from wsseg_cli.ops.cam import min_max_norm

from .pixels import pixel_weights

PrototypeRule = Literal["published", "masked"]
"""`published`: every class has a prototype, also from images without it, and that of background is the mean
of tied pixels. `masked`: only images that contain a class, and for background the pixels with that label."""


@dataclass(frozen=True)
class Rules:
    """Numbers of the contrast.

    Attributes:
        channel: position of the background among the channels.
        background: score of background, in [0, 1].
        top: K, pixels of the batch that make a prototype.
        skip: number of classes nearest to a pixel that are not negatives (semi-hard mining).
        keep: number of the next ones, which are.
        temperature: tau.
        weight: of each of the three losses.
        hard_share: share of a class's pixels that counts as hard.
        kept_share: share of a class's pixels that is kept, at random and again among the hard ones.
        prototypes: which pixels may make a prototype.
        grid: side of the maps on which pixels are compared.
    """

    channel: Background
    background: float
    top: int
    skip: int
    keep: int
    temperature: float = 0.1
    weight: float = 0.1
    hard_share: float = 0.6
    kept_share: float = 0.5
    prototypes: PrototypeRule = "published"
    grid: int = 16


class ContrastView(NamedTuple):
    """What the contrast reads of a view.

    Attributes:
        projection: (N, D, h, w), not negative, with gradient.
        revised: (N, 1+C, h, w) in [0, 1], the revised class maps.
    """

    projection: Tensor
    revised: Tensor


class Prototypes(NamedTuple):
    """One direction for each channel, background included.

    Attributes:
        vectors: (1+C, D), of length 1.
        places: (1+C, K) int64, the pixels that made them, counted over (image, row, column) of the whole batch.
        scores: (1+C, K), their scores.
    """

    vectors: Tensor
    places: Tensor
    scores: Tensor


class Pixels(NamedTuple):
    """A view on the contrast's grid; P = N * grid * grid pixels in the order (image, row, column).

    Attributes:
        unit: (P, D), projections of length 1, with gradient.
        labels: (P,) int64, pseudo labels as channels.
        prototypes: of the batch of all processes; no gradient.
    """

    unit: Tensor
    labels: Tensor
    prototypes: Prototypes


def contrast(
    first: ContrastView,
    second: ContrastView,
    labels: Tensor,
    rules: Rules,
    keys: tuple[Tensor, Tensor],
    places: tuple[Tensor | None, Tensor | None] = (None, None),
) -> dict[str, Tensor]:
    """Return the losses {"cross_prototype", "cross_label", "intra"} between two views (PPC, CVPR 2022, eq. 3 to 8).

    labels: (N, C) multi-hot. keys: of either view, (world * P,) random keys of the pixels of all processes. places: of
    either view, pixels that make the prototypes, if they are not to be searched for. Prototypes, hard pixels and counts
    are those of the batch of all processes; the losses' means over the processes are those of the whole batch.
    """
    with torch.autocast(first.projection.device.type, enabled=False):
        one, two = (pixels(view, labels, rules, at) for view, at in zip((first, second), places, strict=True))
        tau = rules.temperature

        def against(view: Pixels, other: Pixels, pseudo: Tensor) -> Tensor:
            return F.cross_entropy(view.unit @ other.prototypes.vectors.T / tau, pseudo)

        crossed = against(one, two, one.labels) + against(two, one, two.labels)
        swapped = against(one, one, two.labels) + against(two, two, one.labels)
        within = intra_view(one, rules, keys[0]) + intra_view(two, rules, keys[1])
    return {
        name: rules.weight * loss / 2
        for name, loss in (("cross_prototype", crossed), ("cross_label", swapped), ("intra", within))
    }


def pixels(view: ContrastView, labels: Tensor, rules: Rules, places: Tensor | None = None) -> Pixels:
    """Return a view on the grid. Projections and maps are resized first, normalised afterwards, as published."""
    size = (rules.grid, rules.grid)
    projection = resized(view.projection.float(), size)
    scores = normalized_scores(view.revised, size, rules)
    pseudo = pseudo_labels(scores, labels, rules.channel)
    usable = (scores * known_labels(labels, rules.channel)).clamp(min=0) if rules.prototypes == "masked" else scores
    everyone = processes.gather(_rows(projection))
    found = prototypes(everyone, processes.gather(_rows(usable)), rules.top, places)
    if rules.prototypes == "masked":
        found = _own_background(found, everyone, processes.gather(pseudo.flatten()), rules.channel)
    return Pixels(F.normalize(_rows(projection), dim=1), pseudo.flatten(), found)


@torch.no_grad()
def normalized_scores(revised: Tensor, size: tuple[int, int], rules: Rules) -> Tensor:
    """Return scores (N, 1+C, g, g) of revised maps: resized, min-max normalised, background a constant.

    The published normalisation turns a map that is 0 everywhere into -1.
    """
    small = resized(revised.float(), size)
    scores = min_max_norm(small.flatten(0, 1)).view_as(small)
    scores[:, rules.channel] = rules.background
    return scores


@torch.no_grad()
def pseudo_labels(scores: Tensor, labels: Tensor, channel: Background) -> Tensor:
    """Return the best channel of each pixel, (N, g, g) int64, among background and the classes that are present."""
    return (scores * known_labels(labels, channel)).argmax(1)


@torch.no_grad()
def prototypes(features: Tensor, scores: Tensor, top: int, places: Tensor | None = None) -> Prototypes:
    """Return the prototypes: means of the `top` pixels of each channel, weighted with their scores (PPC, eq. 3).

    features: (P, D), not normalised; scores: (P, 1+C). places: (1+C, K), the pixels to take, by default those with the
    highest scores. Scores below 0 count as they are, as published; if they add up to 0 the prototype is 0.
    """
    by_channel = scores.T
    if places is None:
        places = by_channel.topk(min(top, len(scores)), dim=1).indices
    values = by_channel.gather(1, places)
    total = values.sum(1, keepdim=True)
    summed = torch.einsum("ck,ckd->cd", values, features[places])
    means = torch.where(total == 0, torch.zeros_like(summed), summed / total)
    return Prototypes(F.normalize(means, dim=1), places, values)


def semi_hard(similarity: Tensor, skip: int, keep: int) -> Tensor:
    """Return each pixel's negatives, (P, keep) int64: the classes after its `skip` nearest ones, nearest first."""
    return similarity.detach().topk(skip + keep, dim=1).indices[:, skip:]


def intra_view(view: Pixels, rules: Rules, keys: Tensor) -> Tensor:
    """Return the contrast within a view, over hard pixels and semi-hard prototypes (PPC, section 3.4).

    keys: (world * P,). The mean of the returned value over the processes is the loss of the whole batch.
    """
    similarity = view.unit @ view.prototypes.vectors.T
    own = similarity.gather(1, view.labels[:, None])
    others = similarity.gather(1, semi_hard(similarity, rules.skip, rules.keep))
    logits = torch.cat([own, others], 1) / rules.temperature
    losses = logits.logsumexp(1) - logits[:, 0]
    weights = pixel_weights(
        processes.gather(own[:, 0]),
        processes.gather(view.labels),
        keys,
        similarity.shape[1],
        hard_share=rules.hard_share,
        kept_share=rules.kept_share,
    )
    mine = weights.view(processes.world(), -1)[processes.rank()]
    return processes.world() * (losses * mine).sum()


def semi_hard_counts(channels: int) -> tuple[int, int]:
    """Return how many of the nearest classes are skipped and how many kept: (3, 10) of 21 channels, as published.

    Three fifths of the channels, rounded, are hard; half of all channels are kept.
    """
    keep = max(1, channels // 2)
    return max(0, round(0.6 * channels) - keep), keep


def _own_background(found: Prototypes, features: Tensor, pseudo: Tensor, channel: Background) -> Prototypes:
    vectors = found.vectors.clone()
    behind = pseudo == channel % len(vectors)
    vectors[channel] = F.normalize(features[behind].sum(0), dim=0)
    return found._replace(vectors=vectors)


def _rows(maps: Tensor) -> Tensor:
    """Return maps (N, D, h, w) as (N * h * w, D)."""
    return maps.flatten(2).transpose(1, 2).flatten(0, 1)
