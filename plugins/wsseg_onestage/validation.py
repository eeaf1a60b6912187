"""Validation during a training: the loss on held-out images, and a snapshot if it is the lowest so far.

Published: every second epoch, labels given, on randomly cropped and jittered images; here the whole image, resized.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from wsseg_cli.data.images import read_image
from wsseg_cli.engine import checkpoint, processes
from wsseg_cli.plugin.protocols import TrainingJob
from wsseg_cli.types import ByteArray, Progress, Sample

from .net import OneStageNet
from .snapshots import Snapshot, SnapshotFolder, improves, validates

Loss = Callable[[OneStageNet, ByteArray, Tensor, "int | None"], float]
"""(network in eval mode, image, multi-hot label, side of the square it is resized to) -> loss."""


class Validation:
    """Validates a training at its epochs and writes snapshots/eEEEXsS.SSS.safetensors.

    Its result depends on the network alone, so a training that is killed and resumed finds the same again.
    """

    def __init__(self, job: TrainingJob, held: Sequence[Sample], per_epoch: int, warmup: int) -> None:
        self.job, self.held, self.per_epoch, self.warmup = job, held, per_epoch, warmup
        self.files = SnapshotFolder(job.dir / "snapshots")

    def after_step(self, model: OneStageNet, progress: Progress, loss: Loss) -> None:
        """Validate if an epoch that asks for it begins after this step, and keep the network if it is the best."""
        epoch, rest = divmod(progress.step + 1, self.per_epoch)
        if rest or not validates(epoch) or not processes.is_main():
            return
        there = self.files.all()
        snapshot = Snapshot(epoch, 1 - self.mean_loss(model, loss))
        if improves(snapshot, there[-1].score if there else None, self.warmup):
            self.files.folder.mkdir(parents=True, exist_ok=True)
            checkpoint.write_model(self.files.path(snapshot), model, {"epoch": epoch, "score": snapshot.score})
            self.files.keep([*there, snapshot])

    def mean_loss(self, model: OneStageNet, loss: Loss) -> float:
        """Return the mean loss over the held-out images; the network stays in training mode."""
        device = next(model.parameters()).device
        total = 0.0
        model.eval()
        for sample in self.held:
            label = torch.zeros(len(self.job.classes), device=device)
            label[list(sample.labels)] = 1
            image = read_image(sample.image, sample.orientation)
            total += loss(model, image, label, self.job.settings.augment.crop)
        model.train()
        return total / len(self.held)

    def put_best_in_place(self, model: nn.Module) -> None:
        """Make the best snapshot the finished model; without one, as after a short training, the last state stays."""
        there = self.files.all()
        if there and processes.is_main():
            finished = self.job.dir / checkpoint.MODEL
            tensors, said = checkpoint.read_tensors(self.files.path(there[-1]))
            checkpoint.load_strictly(model, tensors, str(self.files.path(there[-1])))
            checkpoint.write_model(finished, model, checkpoint.read_header(finished) | said)
        processes.barrier()
