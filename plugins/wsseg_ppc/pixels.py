"""Which pixels the contrast within a view counts, and how often: random halves, and hard ones class by class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor


class Standing(NamedTuple):
    """The rank of each pixel among those of its class.

    Attributes:
        rank: (P,) int64, from 0, in ascending order of the values.
        size: (P,) int64, pixels of its class.
    """

    rank: Tensor
    size: Tensor


def standing(values: Tensor, labels: Tensor, num_classes: int) -> Standing:
    """Return each pixel's rank by `values` (P,) among those of its class; labels: (P,) in [0, num_classes)."""
    by_value = values.argsort(stable=True)
    order = by_value[labels[by_value].argsort(stable=True)]
    counts = torch.bincount(labels, minlength=num_classes)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(labels)
    rank[order] = torch.arange(len(labels), device=labels.device) - starts[labels[order]]
    return Standing(rank, counts[labels])


def pixel_weights(
    similarity: Tensor, labels: Tensor, keys: Tensor, num_classes: int, *, hard_share: float, kept_share: float
) -> Tensor:
    """Return weights (P,) with which the losses of all pixels add up to the mean over classes of class means.

    The rule that PPC published (CVPR 2022, section 3.4, as coded): of the n pixels of a class, floor(kept_share * n)
    are drawn, those with the lowest random `keys` (P,). As many come from floor(hard_share * n) pixels with the
    lowest `similarity` (P,) to their own prototype, of which the lowest are dropped. The mean is over both lists, a
    pixel in both counting twice. A class too small for any pixel adds nothing, but counts in the mean over classes.
    """
    drawn, hard = (standing(values, labels, num_classes) for values in (keys, similarity))
    kept = (drawn.size.double() * kept_share).long()
    hardest = (drawn.size.double() * hard_share).long()
    times = (drawn.rank < kept).long() + ((hard.rank >= hardest - kept) & (hard.rank < hardest)).long()
    present = torch.bincount(labels, minlength=num_classes).gt(0).sum()
    return times / (2 * kept.clamp(min=1) * present).to(similarity.dtype)


def random_keys(seed: int, step: int, view: int, places: Tensor, cells: int) -> Tensor:
    """Return random keys (N * cells,) in [0, 1), a pure function of (seed, step, view, place of the image, cell).

    places: (N,) int64, the images' positions in the split. No number depends on how the batch is split.
    """
    keys = [np.random.default_rng([seed, step, view, place]).random(cells) for place in places.tolist()]
    return torch.from_numpy(np.concatenate(keys)).to(places.device)
