"""Samples as training batches; order and augmentation are pure functions of (seed, epoch, index)."""

from __future__ import annotations

import signal
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from ..errors import DataError, WssegError
from ..plugin.protocols import Arrays, Batch, Trainable, TrainingJob, Transform
from ..signals import children_deaf
from ..types import ByteArray, Sample
from .images import read_image, read_mask, read_saliency
from .transforms.step import array_name


class TrainingData(Dataset[Any]):
    """The samples of a stage; an item is the tensors of one augmented image, a key a pair (epoch, index)."""

    def __init__(
        self, job: TrainingJob, samples: Sequence[Sample], wanted: frozenset[str], transform: Transform
    ) -> None:
        self.samples = samples
        self.num_classes = len(job.classes)
        self.seed = job.seed
        self.targets = job.targets
        self.wanted = wanted
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int, int]) -> Batch | WssegError:
        """Return the sample's tensors, or the error met when reading it: the loop raises it, not the worker."""
        epoch, index = key
        try:
            arrays = sample_arrays(self.samples[index], self.wanted, self.num_classes)
            for name, by_image in self.targets.items():
                arrays[f"target/{name}"] = by_image[self.samples[index].image_id]
            tensors: Batch = dict(self.transform(arrays, np.random.default_rng([self.seed, epoch, index])))
        except WssegError as error:
            return error
        return tensors | {"image_id": self.samples[index].image_id, "index": torch.tensor(index)}


def sample_arrays(sample: Sample, wanted: frozenset[str], num_classes: int) -> Arrays:
    """Return the arrays of a sample: image (H, W, 3) uint8, label (C,) float32, mask and extras (H, W) uint8.

    Raises:
        DataError: a file is missing or broken.
    """
    label = np.zeros(num_classes, np.float32)
    label[list(sample.labels)] = 1.0
    arrays: Arrays = {"image": read_image(sample.image, sample.orientation), "label": label}
    for name in sorted(wanted):
        if name == "mask":
            if sample.mask is None:
                raise DataError(f"image {sample.image_id!r} has no mask")
            arrays["mask"] = read_mask(sample.mask)
        else:
            arrays[array_name(name)] = read_extra(sample, name)
    return arrays


def read_extra(sample: Sample, name: str) -> ByteArray:
    """Return an extra of a sample, (H, W) uint8.

    Raises:
        DataError: the sample has no extra of this name, or its file is missing or broken.
    """
    if name not in sample.extras:
        raise DataError(f"image {sample.image_id!r} has no {name} map; the data set's options name the folder")
    return read_saliency(sample.extras[name])


def extras_of(sample: Sample, names: Iterable[str]) -> dict[str, ByteArray]:
    """Return the named extras of a sample by name, each (H, W) uint8, as `scores` and `refine` take them.

    Raises:
        DataError: as `read_extra`.
    """
    return {name: read_extra(sample, name) for name in sorted(names)}


def epoch_order(seed: int, epoch: int, count: int) -> np.ndarray:
    """Return the order (count,) of the images in an epoch, a pure function of (seed, epoch)."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Return the full batches per epoch; an incomplete last one is dropped. If there is not even one, images repeat."""
    return max(1, count // batch_size)


class StepSampler:
    """The (epoch, index) pairs of this process, one list per part of each step from `start` on."""

    def __init__(
        self, count: int, batch_size: int, parts: int, seed: int, steps: range, rank: int = 0, world: int = 1
    ) -> None:
        self.count, self.batch_size, self.parts, self.seed, self.steps = count, batch_size, parts, seed, steps
        self.rank, self.world = rank, world

    def __len__(self) -> int:
        return len(self.steps) * self.parts

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = steps_per_epoch(self.count, self.batch_size)
        share = self.batch_size // (self.parts * self.world)
        epoch_now, order = -1, np.empty(0, np.int64)
        for step in self.steps:
            epoch, place = divmod(step, per_epoch)
            if epoch != epoch_now:
                epoch_now, order = epoch, epoch_order(self.seed, epoch, self.count)
            batch = np.take(order, range(place * self.batch_size, (place + 1) * self.batch_size), mode="wrap")
            for part in range(self.parts):
                first = (part * self.world + self.rank) * share
                yield [(epoch, int(index)) for index in batch[first : first + share]]


def collate(items: list[Batch | WssegError]) -> Batch | WssegError:
    """Return the items as one batch: tensors stacked, names as a list; or the first error among them."""
    rows: list[Batch] = []
    for item in items:
        if isinstance(item, WssegError):
            return item
        rows.append(item)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    return {n: torch.stack(column) if isinstance(column[0], torch.Tensor) else column for n, column in columns.items()}


def training_batches(
    job: TrainingJob,
    trainable: Trainable[Any, Any],
    samples: Sequence[Sample],
    steps: range,
    *,
    workers: int,
    rank: int,
    world: int,
    pin: bool,
) -> Iterator[list[Batch]]:
    """Yield for each step of `steps` this process's share of its `accumulate` parts.

    Raises:
        WssegError: an image cannot be read; names the image.
    """
    s = job.settings
    sampler = StepSampler(len(samples), s.batch_size, s.accumulate, job.seed, steps, rank, world)
    data = TrainingData(job, samples, trainable.required.training, trainable.train_transform(s.augment))
    loader = DataLoader(
        data,
        batch_sampler=sampler,  # type: ignore[arg-type]
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pin,
        worker_init_fn=_one_thread if workers else None,
    )
    parts: list[Batch] = []
    with children_deaf():
        batches = iter(loader)
    for batch in batches:
        if isinstance(batch, WssegError):
            raise batch
        parts.append(batch)
        if len(parts) == s.accumulate:
            yield parts
            parts = []


def _one_thread(_: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the loop finishes its step and saves
    torch.set_num_threads(1)
