"""The loss of IRN: affinities cut by edges, and displacements that agree inside an object."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from wsseg_cli.errors import DataError
from wsseg_cli.ops.affinity import AffinityLoss, MeanOverProcesses, PairLabels, Pairs, affinity_loss
from wsseg_cli.ops.paths import path_affinity


@dataclass(frozen=True)
class IrnLoss:
    """The parts of IRN's loss.

    Attributes:
        affinity: positive pairs of background and of foreground, negative pairs.
        foreground: mean |d - target| over pairs inside one class.
        background: mean |d| over pairs of background.
    """

    affinity: AffinityLoss
    foreground: Tensor
    background: Tensor

    @property
    def affinity_total(self) -> Tensor:
        """(L_pos + L_neg) / 2 with L_pos the mean of background and foreground."""
        return self.affinity.total

    @property
    def displacement_total(self) -> Tensor:
        """(L_fg + L_bg) / 2."""
        return (self.foreground + self.background) / 2

    @property
    def total(self) -> Tensor:
        """The whole loss."""
        return self.affinity_total + self.displacement_total


def displacement_difference(displacement: Tensor, pairs: Pairs) -> Tensor:
    """Return D(source) - D(destination) of every pair, (N, 2, P); displacement: (N, 2, h, w), channels dy, dx."""
    parts = [
        pairs.cut(displacement, window) - pairs.cut(displacement, window, offset) for offset, window in pairs.windows()
    ]
    return torch.cat(parts, -1) if parts else displacement.new_zeros(*displacement.shape[:2], 0)


def displacement_target(pairs: Pairs) -> Tensor:
    """Return the offset (dy, dx) of every pair, (2, P) float."""
    counts = [max(0, bottom - top) * max(0, right - left) for _, (top, bottom, left, right) in pairs.windows()]
    offsets = torch.tensor(pairs.offsets, dtype=torch.float32).reshape(-1, 2)
    return offsets.repeat_interleave(torch.tensor(counts, dtype=torch.int64), 0).T


def irn_loss(
    edge_logit: Tensor,
    displacement: Tensor,
    labels: PairLabels,
    pairs: Pairs,
    mean_over_processes: MeanOverProcesses | None = None,
    eps: float = 1e-5,
) -> IrnLoss:
    """Return the loss of IRN (Ahn, Cho & Kwak 2019), sums and counts over the whole batch.

    edge_logit: (N, 1, h, w); displacement: (N, 2, h, w), channels dy, dx, in cells; labels: (N, P) of `pairs`, which
    come from `path_pairs`. mean_over_processes: as in `affinity_loss`.

    Raises:
        DataError: maps and pairs differ in size.
    """
    if displacement.shape[-2:] != edge_logit.shape[-2:]:
        raise DataError(
            f"edge map {tuple(edge_logit.shape)} and displacement {tuple(displacement.shape)} differ in size"
        )
    affinity = affinity_loss(path_affinity(torch.sigmoid(edge_logit[:, 0]), pairs), labels, mean_over_processes, eps)
    difference = displacement_difference(displacement, pairs)
    target = displacement_target(pairs).to(difference)
    background, foreground = affinity.counts[0], affinity.counts[1]
    apart = ((difference - target).abs().sum(1) * labels.foreground).sum() / (2 * foreground + eps)
    drift = (difference.abs().sum(1) * labels.background).sum() / (2 * background + eps)
    return IrnLoss(affinity, apart, drift)
