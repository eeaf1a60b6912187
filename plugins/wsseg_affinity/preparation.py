"""Labels made before training: one per-image loop over the CAM store, resumable, failures reported together."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from wsseg_cli.engine import processes
from wsseg_cli.engine.each import Work, Workers, each, share
from wsseg_cli.engine.fit import usable_samples
from wsseg_cli.errors import CheckpointError, DataError, RecipeError
from wsseg_cli.ops.resize import shrunk
from wsseg_cli.plugin.protocols import NetworkT, Trainable, TrainingJob
from wsseg_cli.settings import CrfSettings, InferSettings
from wsseg_cli.types import ByteArray, ScoreMap

Setup = Callable[..., Work]


def make_labels(
    trainable: Trainable[Any, Any],
    job: TrainingJob,
    missing: Callable[[Iterable[str]], list[str]],
    setup: Setup,
    arguments: tuple[Any, ...],
    crf: CrfSettings,
) -> None:
    """Do `setup(samples, cams, device, *arguments)(image_id)` for every image that has no label yet.

    samples: those that `trainable` learns from, by image id; cams: the score maps of the previous stage. missing:
    returns the images without a label. All processes share the work and wait for each other.

    Raises:
        DataError: some images failed, with the reasons; the labels of the others are kept.
    """
    samples = {sample.image_id: sample for sample in usable_samples(trainable, job)}
    todo = processes.agree(missing(samples))
    device = crf_device(crf)
    workers = Workers(job.workers if device == "cpu" else 0)
    given = (samples, score_maps(job), device, *arguments)
    done = each(share(todo), setup, given, workers=workers, label="labels")
    failures = processes.gather_objects(list(done.failures.items()))
    if failures:
        shown = "\n  ".join(f"{image_id}: {reason}" for image_id, reason in failures[:5])
        raise DataError(
            f"labels could not be made for {len(failures)} of {len(samples)} images; the others are kept\n  {shown}"
        )
    processes.barrier()


LABEL_LONGEST = 1024
"""Longer side of a photo for labels; what publications train on is smaller, and a CRF of more takes many gigabytes."""


def at_label_size(image: ByteArray, coarse: ScoreMap, longest: int | None) -> tuple[ByteArray, ScoreMap]:
    """Return a photo (H, W, 3) and its score map as labels are made of them: both for a longer side of `longest`."""
    small = shrunk(image, longest)
    return small, replace(coarse, size=(int(small.shape[0]), int(small.shape[1])), strided=None)


def score_maps(job: TrainingJob) -> Mapping[str, ScoreMap]:
    """Return the score maps of the previous stage.

    Raises:
        DataError: there are none.
    """
    if job.cams is None:
        raise DataError("no score maps to make labels of; affinities are learnt in the stage `refine`, after `cam`")
    return job.cams


def crf_device(crf: CrfSettings) -> str:
    """Return the device of the labels' CRF: a GPU only if the recipe says `backend: torch`."""
    if crf.backend != "torch":
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_views(infer: InferSettings, name: str, flip: bool) -> None:
    """Check that a walk is asked for on the image at its own size.

    Raises:
        RecipeError: there are other scales, or horizontal flips although the network has none of its own.
    """
    if infer.scales != (1.0,) or (infer.flip and not flip):
        wanted = "{scales: [1.0]}" if flip else "{scales: [1.0], flip: false}"
        raise RecipeError(
            f"refine.infer: {name} walks on the image at its own size; expected {wanted} "
            f"(got scales {list(infer.scales)}, flip {str(infer.flip).lower()})"
        )


def network(model: NetworkT | None, name: str) -> NetworkT:
    """Return the trained network.

    Raises:
        CheckpointError: there is no trained network.
    """
    if model is None:
        raise CheckpointError(f"{name} walks with a trained network and got none; run `wsseg refine` with refine.train")
    return model


def mean_over_processes(counts: Tensor) -> Tensor:
    """Return the mean of `counts` over the training processes."""
    return processes.sum_over_processes(counts) / processes.world()
