"""Out of memory: how it is recognised, and what to say about it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from ..errors import RecipeError, TrainingError
from ..plugin.protocols import NetworkT, Trainable, TrainingJob
from . import train_state

_WORDS = ("out of memory", "not enough memory", "can't allocate memory", "cannot allocate memory", "alloc_failed")
_NO_SIZE = ("overflow when unpacking", "storage size calculation overflowed")

IMAGE_ADVICE = (
    "out of memory; fewer or smaller `infer.scales` need less, so do fewer `runtime.workers` and smaller photos"
)
"""What to do when one image needs more memory than there is."""


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that the memory of the device or of the machine is exhausted."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError) and any(word in str(error).lower() for word in _WORDS)


def built(plugin: Trainable[Any, NetworkT]) -> NetworkT:
    """Return the plugin's network with random weights.

    Raises:
        RecipeError: with its options the network is larger than any memory.
    """
    try:
        return plugin.build_model()
    except (MemoryError, RuntimeError, TypeError) as error:  # torch: TypeError for sizes of more than 64 bits
        if not is_out_of_memory(error) and not any(word in str(error).lower() for word in _NO_SIZE):
            raise
        options = plugin.options.model_dump(mode="json")
        raise RecipeError(
            f"the network of {type(plugin).__name__} does not fit into memory with its options {str(options)[:300]}"
        ) from None


@contextmanager
def explained(job: TrainingJob, device: torch.device) -> Iterator[None]:
    """Say what to do if the training inside needs more memory than there is.

    Raises:
        TrainingError: memory is exhausted.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingError(_advice(job, device)) from None


def _advice(job: TrainingJob, device: torch.device) -> str:
    settings, augment = job.settings, job.settings.augment
    scales = augment.scales or augment.scale_range or augment.resize_long
    sizes = f"crop {augment.crop}" if augment.crop else "no crop, images as large as they are"
    sizes += f", scales {list(scales)}" if scales else ""
    parts = settings.accumulate * 2
    split = f"`accumulate={parts}` computes each step in {parts} parts, " if settings.batch_size % parts == 0 else ""
    last = train_state.last_folder(job.dir)
    kept = f"{int(last.name.split('_')[-1])} steps in {job.dir}" if last else f"nothing yet in {job.dir}"
    return (
        f"{job.dir.name}: out of memory on {device} with batch_size {settings.batch_size}, accumulate "
        f"{settings.accumulate}, {sizes}. {split}a smaller batch_size, crop or scale and `precision=bf16` need less. "
        f"Kept: {kept}; the same command resumes from there"
    )
