"""metrics.jsonl of a training: losses, learning rate and the norm of clipped gradients every few steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from ..disk.writing import write_text
from ..run.records import metrics
from . import processes


class MetricsLog:
    """metrics.jsonl, one line every few steps; on resuming, lines after the last checkpoint are dropped."""

    def __init__(self, path: Path, begun: int, accelerator: Any) -> None:
        """Read the lines up to step `begun`; accelerator: passes values on to a tracker; None if there is none."""
        self.path, self.accelerator = path, accelerator
        self.lines = [line for line in metrics(path) if line["step"] <= begun]

    def write(self, step: int, losses: Mapping[str, float], facts: Mapping[str, float]) -> None:
        """Add a line: the losses averaged over the processes, and facts that are the same in all of them."""
        values = dict(losses)
        if processes.world() > 1:
            mean = processes.sum_over_processes(
                torch.tensor(list(values.values()), dtype=torch.float64, device=processes.start())
            )
            values = dict(zip(values, (mean / processes.world()).tolist(), strict=True))
        values |= facts
        self.lines.append({"step": step, **values})
        if self.accelerator is not None:
            self.accelerator.log(values, step=step)

    def flush(self) -> None:
        """Write the file; only the main process does."""
        if processes.is_main():
            write_text(self.path, "".join(json.dumps(line) + "\n" for line in self.lines))
