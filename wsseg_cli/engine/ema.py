"""The moving average of a network's weights (RecurSeed, DHR)."""

from __future__ import annotations

import math

import torch
from torch import nn


def ema_decay(update: int, decay: float) -> float:
    """Return the decay of the `update`-th update, counted from 1: decay * (1 - exp(-update / 2000))."""
    return decay * (1 - math.exp(-update / 2000))


@torch.no_grad()
def ema_update(average: nn.Module, model: nn.Module, update: int, decay: float) -> None:
    """Move `average` towards `model` in place: a <- d a + (1 - d) m, d = `ema_decay(update, decay)`.

    All floating-point tensors move, running statistics included; integer buffers keep their initial value.
    """
    d = ema_decay(update, decay)
    current = model.state_dict()
    for name, value in average.state_dict().items():
        if value.is_floating_point():
            value.mul_(d).add_(current[name].to(value), alpha=1 - d)
