"""The single-stage network together with the moving average of its weights, which is what is evaluated."""

from __future__ import annotations

import copy
from typing import Any

import torch

from wsseg_cli.plugin.backbone import Backbone

from .net import RsepmNet


class AveragedRsepmNet(RsepmNet):
    """An RsepmNet and, under `average`, a second one that follows it; saved together, so that training can resume."""

    def __init__(self, backbone: Backbone, num_classes: int, **heads: Any) -> None:
        super().__init__(backbone, num_classes, **heads)
        self.average = RsepmNet(copy.deepcopy(backbone), num_classes, **heads).requires_grad_(False).eval()

    @torch.no_grad()
    def start_average(self) -> None:
        """Set the average to the network's current weights."""
        own = self.state_dict()
        for name, value in self.average.state_dict().items():
            value.copy_(own[name])

    def train(self, mode: bool = True) -> AveragedRsepmNet:
        """Set training mode, except for the average, which is always in eval mode."""
        super().train(mode)
        if hasattr(self, "average"):
            self.average.eval()
        return self


def evaluated(model: RsepmNet) -> RsepmNet:
    """Return the network that makes the score maps: the average if there is one."""
    return model.average if isinstance(model, AveragedRsepmNet) else model
