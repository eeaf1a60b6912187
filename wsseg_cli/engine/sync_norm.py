"""Batch statistics over all processes. torch's own layer does this only on GPUs."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from . import processes


def sync_batch_norms(model: nn.Module, device: torch.device) -> nn.Module:
    """Return `model`; its batch norms in training mode now take mean and variance over the batches of all processes.

    All processes must have equally many images.
    """
    if device.type != "cpu":
        synced: nn.Module = nn.SyncBatchNorm.convert_sync_batchnorm(model)
        return synced
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = SyncedBatchNorm  # the optimiser and `Backbone.freeze` hold this very object
    return model


class SyncedBatchNorm(nn.BatchNorm2d):
    """Batch norm whose training statistics come from all processes; in eval mode it is like any other."""

    def forward(self, input: Tensor) -> Tensor:
        """Return (N, D, h, w) normalised over N, h, w and the processes."""
        if not self.training:
            return super().forward(input)
        count = processes.world() * input.numel() / input.shape[1]
        features = input.to(torch.promote_types(input.dtype, torch.float32))  # as torch's own does under autocast
        # two passes: the variance from a mean of squares would lose digits
        mean = _sum(features.sum((0, 2, 3), keepdim=True)) / count
        centred = features - mean
        variance = _sum(centred.square().sum((0, 2, 3), keepdim=True)) / count
        self._remember(mean.flatten(), variance.flatten(), count)
        result = centred * torch.rsqrt(variance + self.eps)
        if self.affine:
            result = result * self.weight[:, None, None] + self.bias[:, None, None]
        return result.to(input.dtype)

    @torch.no_grad()
    def _remember(self, mean: Tensor, variance: Tensor, count: float) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / (count - 1), share)


class _Sum(torch.autograd.Function):
    """The sum over all processes; backward gives each the gradient of all losses with respect to its own part."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return processes.sum_over_processes(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return processes.sum_over_processes(gradients[0])


def _sum(x: Tensor) -> Tensor:
    total: Tensor = _Sum.apply(x)
    return total
