"""The only training loop: every method, refiner and segmenter is trained here."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.loader import steps_per_epoch, training_batches
from ..errors import DataError, RecipeError
from ..ops import opencv
from ..plugin.protocols import Batch, Losses, NetworkT, Trainable, TrainingJob
from ..settings import RuntimeSettings, TrainSettings
from ..types import Progress, Sample
from . import checkpoint, hub_weights, processes, train_state
from .arithmetic import allow_tf32, autocast
from .frozen import frozen_weights
from .interrupt import Interrupt
from .live import log_pictures
from .losses import LossWatch, PartLosses
from .memory import built, explained
from .metrics_log import MetricsLog
from .optim import build_optimizer, set_learning_rates, step_facts, take_step
from .progress import ProgressLine
from .sync_norm import sync_batch_norms


class _Step(nn.Module):
    """The method's step as a module, so that a data-parallel wrapper sees one forward and one backward.

    Methods may call the network twice, or only parts of it. On the unwrapped network each process would then silently
    train its own weights.
    """

    def __init__(self, trainable: Trainable[Any, Any], model: nn.Module) -> None:
        super().__init__()
        self.trainable = trainable
        self.model = model

    def forward(self, batch: Batch, progress: Progress) -> Losses:
        return self.trainable.training_step(self.model, batch, progress)


class Loop:
    """The training loop with its surroundings: `Loop(runtime)(trainable, job)` trains and returns the network."""

    def __init__(
        self,
        runtime: RuntimeSettings,
        *,
        header: Mapping[str, Any] | None = None,
        backbone: Path | None = None,
        quiet: bool = False,
    ) -> None:
        """Keep what only the stage knows, not the plugin.

        header: the header of model.safetensors. backbone: the model file that `weights: train_cls` stands for.
        """
        self.runtime = runtime
        self.header = dict(header or {})
        self.backbone = backbone
        self.quiet = quiet

    def __call__(self, trainable: Trainable[Any, NetworkT], job: TrainingJob) -> NetworkT:
        """Train in `job.dir` until model.safetensors is written, starting from the last checkpoint if there is one.

        Raises:
            TrainingError: a loss is not finite. DataError: no usable sample. CheckpointError: weights do not fit.
        """
        device = processes.start(self.runtime.device)
        allow_tf32(self.runtime.tf32)
        finished = job.dir / checkpoint.MODEL
        if finished.is_file() and checkpoint.read_header(finished).get("fingerprint") == job.fingerprint:
            model = built(trainable)
            checkpoint.load_strictly(model, checkpoint.read_tensors(finished)[0], str(finished))
            if processes.is_main():  # it may have ended between writing the model and removing its states
                train_state.drop(job.dir)
            return model.to(device).eval()
        with explained(job, device):
            return self._train(trainable, job, device)

    def _train(self, trainable: Trainable[Any, NetworkT], job: TrainingJob, device: torch.device) -> NetworkT:
        s = job.settings
        samples = usable_samples(trainable, job)
        max_steps = step_count(s, len(samples))
        _require_equal_parts(s)
        torch.manual_seed(job.seed)
        model = built(trainable)
        said = self._initial(model, s.weights)
        model.to(device).train()
        optimizer = build_optimizer(trainable.param_groups(model, s.optim), s.optim, fused=device.type == "cuda")
        scaler = torch.amp.GradScaler(device.type) if s.precision == "fp16" else None
        begun = train_state.resume(job.dir, model, optimizer, scaler)
        if begun:
            model.to(device)
        accelerator = self._accelerator(trainable, job.dir)
        if s.sync_batch_norm and processes.world() > 1:
            sync_batch_norms(model, device)
        step_module = accelerator.prepare(_Step(trainable, model))
        log = MetricsLog(job.dir / "metrics.jsonl", begun, accelerator if self.runtime.tracker != "none" else None)
        save_every = s.save_every or max(1, max_steps // 10)
        per_epoch = steps_per_epoch(len(samples), s.batch_size)
        batches = training_batches(
            job,
            trainable,
            samples,
            range(begun, max_steps),
            workers=processes.worker_count(self.runtime),
            rank=processes.rank(),
            world=processes.world(),
            pin=device.type == "cuda",
        )
        label, on_cpu = job.dir.name, device.type == "cpu"
        quiet = self.quiet or not processes.is_main()
        shown = ProgressLine(label, max_steps, start=begun, word="step", unit_size=s.batch_size, quiet=quiet)
        losses = LossWatch(job.dir)
        with shown as line, Interrupt() as interrupt:
            for step, parts in enumerate(batches, begun):
                progress = Progress(step, max_steps, step // per_epoch, job.seed)
                set_learning_rates(optimizer, s.schedule, progress)
                # Dropout and other random draws depend only on (seed, step, process): no random state to store.
                torch.manual_seed(_seed_of(job.seed, step, processes.rank()))
                losses.add(step, self._step(step_module, accelerator, parts, progress, s, device, scaler))
                norm = take_step(optimizer, scaler, s.optim.grad_clip)
                trainable.after_step(model, progress)
                done = step + 1
                stop = processes.agree_to_stop(interrupt.asked)
                saves = (done % save_every == 0 or stop is not None) and done < max_steps
                logs = done % self.runtime.log_every == 0 or done in (1, max_steps)
                if saves or logs or on_cpu:
                    line.show(**losses.look())
                line.advance()
                if logs:
                    log.write(done, losses.last, step_facts(optimizer, norm))
                if saves and processes.is_main():
                    log.flush()
                    train_state.write(job.dir, done, model, optimizer, scaler)
                if (done % save_every == 0 or done == max_steps) and processes.is_main():
                    log_pictures(accelerator.trackers, trainable, model, job, done)
                if stop is not None:
                    raise stop
        log.flush()
        model.eval()
        if processes.is_main():
            header = self.header | {"weights": said, "fingerprint": job.fingerprint, "steps": max_steps}
            header |= opencv.version(s.augment.opencv)
            checkpoint.write_model(job.dir / checkpoint.MODEL, model, header)
            train_state.drop(job.dir)
        for tracker in accelerator.trackers:  # `end_training` would also end the process group, and stages follow
            tracker.finish()
        processes.barrier()
        return model

    def _initial(self, model: nn.Module, weights: str) -> str:
        if weights == "hub":
            hub_weights.bring(model, quiet=self.quiet)
        if weights != "train_cls":
            return checkpoint.load_initial(model, weights)
        if self.backbone is None:
            raise RecipeError(
                "weights: train_cls starts from this run's classifier; only refine.train and train_seg can say so"
            )
        header = checkpoint.read_header(self.backbone)
        if "frozen" in header:
            return checkpoint.load_initial(model, frozen_weights(header, self.backbone, model))
        return checkpoint.load_backbone_of(model, self.backbone)

    def _accelerator(self, trainable: Trainable[Any, Any], folder: Path) -> Any:
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs

        # Gradients of a branch unused in a step stay None, so neither momentum nor weight decay moves it.
        parallel = DistributedDataParallelKwargs(find_unused_parameters=trainable.idle_parameters)
        tracker = self.runtime.tracker
        accelerator = Accelerator(
            cpu=processes.on_cpu(self.runtime.device),
            kwargs_handlers=[parallel],
            log_with=None if tracker == "none" else tracker,
            project_dir=None if tracker == "none" else str(folder),
        )
        if tracker != "none":
            accelerator.init_trackers("tracker")
        return accelerator

    def _step(
        self,
        step_module: nn.Module,
        accelerator: Any,
        parts: list[Batch],
        progress: Progress,
        settings: TrainSettings,
        device: torch.device,
        scaler: Any,
    ) -> list[PartLosses]:
        """Run forward and backward of all parts of one step; return the losses of each part."""
        seen: list[PartLosses] = []
        for number, batch in enumerate(parts):
            last = number == len(parts) - 1
            batch = {n: v.to(device, non_blocking=True) if isinstance(v, Tensor) else v for n, v in batch.items()}
            with nullcontext() if last else accelerator.no_sync(step_module):
                with autocast(device.type, settings.precision):
                    losses = step_module(batch, progress)
                seen.append(PartLosses.of(losses, batch["image_id"]))
                total = sum(losses.values()) / len(parts)
                (scaler.scale(total) if scaler else total).backward()  # type: ignore[union-attr]
        return seen


def usable_samples(trainable: Trainable[Any, Any], job: TrainingJob) -> list[Sample]:
    """Return the job's samples that can be trained on, in order: for classifiers those that have a label.

    Samples known to show none of the classes are included if the job keeps them.

    Raises:
        DataError: there is no usable sample.
    """
    keep = job.keep_unlabelled
    usable = [s for s in job.samples if s.labels or not trainable.drop_unlabelled or (keep and s.labelled)]
    if not any(sample.labels for sample in usable) and trainable.drop_unlabelled:
        usable = []
    if not usable:
        why = "no image has a label" if job.samples else "the split is empty"
        raise DataError(f"nothing to train on: {why}; see `wsseg prepare`'s report")
    return usable


def step_count(settings: TrainSettings, images: int) -> int:
    """Return the number of training steps that a section of a recipe asks for on `images` images."""
    if settings.max_steps is not None:
        return settings.max_steps
    return (settings.epochs or 0) * steps_per_epoch(images, settings.batch_size)


def _require_equal_parts(settings: TrainSettings) -> None:
    """Raise a RecipeError unless a batch divides into equal parts, one per process and accumulation step."""
    world = processes.world()
    if settings.batch_size % (world * settings.accumulate):
        raise RecipeError(
            f"batch_size {settings.batch_size} is not divisible by {world} processes x accumulate {settings.accumulate}"
        )


def _seed_of(*numbers: int) -> int:
    import numpy as np

    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)
