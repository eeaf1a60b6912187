"""The losses of a training as numbers: read every few steps only, so that not every step waits for the GPU."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..errors import TrainingError
from . import train_state


@dataclass(frozen=True)
class PartLosses:
    """The losses of one part of a step, still on the device that computed them.

    Attributes:
        names: names of the losses.
        values: (len(names),) float32.
        image_ids: images of the part.
    """

    names: tuple[str, ...]
    values: Tensor
    image_ids: tuple[str, ...]

    @classmethod
    def of(cls, losses: Mapping[str, Tensor], image_ids: Sequence[str]) -> PartLosses:
        """Return the scalars `losses` without their graph."""
        values = torch.stack([loss.detach().float().reshape(()) for loss in losses.values()])
        return cls(tuple(losses), values, tuple(image_ids))


class LossWatch:
    """Keeps the losses of the steps until they are checked; no checkpoint is written before that.

    Attributes:
        last: the losses of the last step that was checked, averaged over its parts.
    """

    def __init__(self, folder: Path) -> None:
        """folder: the training's folder, whose last checkpoint the error names."""
        self.folder = folder
        self.last: dict[str, float] = {}
        self._waiting: list[tuple[int, list[PartLosses]]] = []

    def add(self, step: int, parts: list[PartLosses]) -> None:
        """Keep the losses of a step."""
        self._waiting.append((step, parts))

    def look(self) -> dict[str, float]:
        """Return the losses of the last step.

        Raises:
            TrainingError: a loss of this or an earlier step is not finite; names the first such loss, its step, its
                images and the last checkpoint.
        """
        for step, parts in self._waiting:
            self.last = {}
            for part in parts:
                for name, value in zip(part.names, part.values.tolist(), strict=True):
                    if not math.isfinite(value):
                        raise self._error(name, value, step, part.image_ids)
                    self.last[name] = self.last.get(name, 0.0) + value / len(parts)
        self._waiting = []
        return self.last

    def _error(self, name: str, value: float, step: int, image_ids: Sequence[str]) -> TrainingError:
        last = train_state.last_folder(self.folder)
        return TrainingError(
            f"loss `{name}` is {value} at step {step}; images {', '.join(image_ids)}; "
            f"last good checkpoint: {last.name if last else 'none'}. A smaller learning rate "
            "(`--set` …`optim.lr=`) or `precision: fp32` often helps"
        )
