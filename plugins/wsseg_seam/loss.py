"""SEAM's losses on two sizes of one image, and the training step that other systems build on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor

from wsseg_cli.ops.cam import rectified_min_max_norm
from wsseg_cli.ops.losses import multilabel_soft_margin
from wsseg_cli.ops.pooling import global_average

from .channels import (
    Background,
    foreground,
    known_labels,
    remaining_background,
    shown_channels,
    strongest_class,
    take,
)
from .net import SeamMaps
from .pcm import resized


class SeamView(NamedTuple):
    """One of the two sizes of a batch, and the network's outputs for it.

    Attributes:
        images: (N, 3, H, W), normalised.
        cams: (N, 1+C, H, W) raw class activation maps, upsampled.
        revised: (N, 1+C, H, W) in [0, 1], upsampled.
        maps: the same before upsampling, and the features they come from.
    """

    images: Tensor
    cams: Tensor
    revised: Tensor
    maps: SeamMaps


def seam_views(
    model: Callable[[Tensor], SeamMaps],
    images: Tensor,
    labels: Tensor,
    size: tuple[int, int],
    *,
    pool: float = 0.25,
    top: float = 0.2,
) -> tuple[dict[str, Tensor], tuple[SeamView, SeamView]]:
    """Return the losses {"cls", "rvmin", "er", "ecr"} of a batch and its two views (SEAM, CVPR 2020, section 3.4).

    model: a SeamNet or one built on it. images: (N, 3, H, W), normalised; labels: (N, C) multi-hot; size: of the second
    view, which is the first resized. pool and top as in `min_pooling` and `equivariance`. All losses are means over
    the images, so they can be averaged over processes.
    """
    views = (view_of(model, images), view_of(model, resized(images, size)))
    return seam_losses(*views, labels, pool=pool, top=top), views


def view_of(model: Callable[[Tensor], SeamMaps], images: Tensor) -> SeamView:
    """Return the network's outputs for images (N, 3, H, W), at their size."""
    maps = model(images)
    size = (images.shape[2], images.shape[3])
    return SeamView(images, resized(maps.cams, size), resized(maps.revised, size), maps)


def seam_losses(first: SeamView, second: SeamView, labels: Tensor, *, pool: float, top: float) -> dict[str, Tensor]:
    """Return the losses {"cls", "rvmin", "er", "ecr"} of two views; their sum is what SEAM minimises."""
    er, ecr = equivariance(first.cams, first.revised, second.cams, second.revised, labels, top=top)
    return {
        "cls": (classification(first.cams, labels) + classification(second.cams, labels)) / 2,
        "rvmin": (revised_min_pooling(first.revised, labels, pool) + revised_min_pooling(second.revised, labels, pool))
        / 2,
        "er": er,
        "ecr": ecr[0] + ecr[1],
    }


def classification(cams: Tensor, labels: Tensor) -> Tensor:
    """Return the multi-label soft margin loss of the maps' means; cams: (N, 1+C, H, W), upsampled as published.

    The mean after upsampling with aligned corners differs slightly from that of the small map.
    """
    return multilabel_soft_margin(global_average(foreground(cams)), labels)


def revised_min_pooling(revised: Tensor, labels: Tensor, share: float = 0.25, background: Background = 0) -> Tensor:
    """Return `min_pooling` of the revised maps (N, 1+C, H, W) of the classes that are present."""
    shown = shown_channels(labels, background)
    known = take(known_labels(labels, background), shown)
    return min_pooling(foreground(take(revised, shown) * known, background), share)


def min_pooling(maps: Tensor, share: float = 0.25) -> Tensor:
    """Return the mean of the lowest `share` of the pixels, each with its highest class, not below 0.

    maps: (N, C, H, W). It keeps a quarter of each image free of any class.
    """
    highest = maps.amax(1).flatten(1)
    count = max(1, int(highest.shape[1] * share))
    return F.relu(highest.topk(count, dim=1, largest=False, sorted=False).values).mean()


def equivariance(
    cams1: Tensor,
    revised1: Tensor,
    cams2: Tensor,
    revised2: Tensor,
    labels: Tensor,
    *,
    top: float = 0.2,
    background: Background = 0,
    spared: Background | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Return the loss ER and the two of ECR between two views (SEAM, CVPR 2020, eq. 10 and 11).

    cams1, revised1: (N, 1+C, H1, W1), of the first view, normalised by `rectified_min_max_norm` and then resized to the
    size (H2, W2) of the second view's cams2 and revised2. labels: (N, C). ECR compares each view's revised maps with
    the other's strongest classes and takes the largest share `top` of all differences, image by image. background:
    its channel. spared: the channel exempt from the selection of the strongest, by default that of background (PPC
    on EPS published another).
    """
    shown = shown_channels(labels, background)  # an absent class is 0 in both views and adds nothing: not computed
    known = take(known_labels(labels, background), shown)
    size, channels = (cams2.shape[2], cams2.shape[3]), cams2.shape[1]
    c1, r1 = (resized(rectified_min_max_norm(take(maps, shown)), size) * known for maps in (cams1, revised1))
    c2, r2 = (rectified_min_max_norm(take(maps, shown)) * known for maps in (cams2, revised2))
    er = (foreground(c1, background) - foreground(c2, background)).abs().sum() / foreground(cams2, background).numel()
    spared = background if spared is None else spared
    target1, target2 = (strongest_class(remaining_background(c.detach(), background), spared) for c in (c1, c2))
    count = max(1, int(channels * size[0] * size[1] * top))
    return er, (_largest((target2 - r1).abs(), count), _largest((target1 - r2).abs(), count))


def _largest(differences: Tensor, count: int) -> Tensor:
    """Return the mean of each image's `count` largest differences; those that were not computed are 0."""
    flat = differences.flatten(1)
    largest = flat.topk(count, dim=1, sorted=False).values if count < flat.shape[1] else flat
    return largest.sum() / (count * len(flat))
