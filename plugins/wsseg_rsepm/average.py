"""The single-stage network together with the moving average of its weights, which is what is evaluated."""

from __future__ import annotations

from typing import Any

import torch

from .net import RSEPM


class AveragedRSEPM(RSEPM):
    """An RSEPM and, under `average`, a second one that follows it; saved together, so that training can go on."""

    def __init__(self, num_classes: int, backbone: str = "resnet50", **options: Any) -> None:
        super().__init__(num_classes, backbone, **options)
        self.average = RSEPM(num_classes, backbone, **options).requires_grad_(False).eval()

    @torch.no_grad()
    def start_average(self) -> None:
        """Set the average to the network as it is."""
        own = self.state_dict()
        for name, value in self.average.state_dict().items():
            value.copy_(own[name])

    def train(self, mode: bool = True) -> AveragedRSEPM:
        """Set training mode, except for the average, which always infers."""
        super().train(mode)
        if hasattr(self, "average"):
            self.average.eval()
        return self


def evaluated(model: RSEPM) -> RSEPM:
    """Return the network that makes the score maps: the average where there is one."""
    return model.average if isinstance(model, AveragedRSEPM) else model
