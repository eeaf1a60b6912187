"""Pictures of a running training in TensorBoard: the network's current output for a few training images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from ..data.images import read_image
from ..data.loader import extras_of
from ..data.overlays import mask_overlay, score_overlay
from ..plugin.protocols import Method, Predictor, Refiner, Trainable, TrainingJob
from ..settings import InferSettings
from ..types import ByteArray, Sample

IMAGES = 4
"""Number of training images that are shown, always the same ones."""


def log_pictures(
    trackers: Sequence[Any], trainable: Trainable[Any, Any], model: nn.Module, job: TrainingJob, step: int
) -> None:
    """Send the first images of `job`, each next to its maps or prediction, to TensorBoard if that tracker is on.

    The network is left as it was, so the training does not depend on whether pictures are logged.
    """
    boards = [tracker for tracker in trackers if tracker.name == "tensorboard"]
    if not boards:
        return
    with _at_rest(model, trainable.required.gradients):
        shown = {sample.image_id: _shown(trainable, model, job, sample) for sample in job.samples[:IMAGES]}
    for image_id, picture in shown.items():
        if picture is not None:
            for board in boards:
                board.log_images({image_id: picture[None]}, step=step, dataformats="NHWC")


@contextmanager
def _at_rest(model: nn.Module, gradients: bool) -> Iterator[None]:
    """Keep the network in eval mode, with gradients if asked for; then restore the mode of every module."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        # not inference_mode: a tensor that a module keeps from here could not take part in a backward pass later
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _shown(trainable: Trainable[Any, Any], model: nn.Module, job: TrainingJob, sample: Sample) -> ByteArray | None:
    """Return (H, 2W, 3) uint8: the image and the output for it in one view; None if the output cannot be drawn."""
    image = read_image(sample.image, sample.orientation)
    view = InferSettings()
    extras = extras_of(sample, trainable.required.inference)
    if isinstance(trainable, Method):
        drawn = score_overlay(image, trainable.scores(model, image, sample.labels, view, **extras))
    elif isinstance(trainable, Refiner) and job.cams is not None:
        refined = trainable.refine(model, image, sample.labels, job.cams[sample.image_id], view, **extras)
        drawn = score_overlay(image, refined)
    elif isinstance(trainable, Predictor):
        drawn = mask_overlay(image, trainable.logits(model, image, view).argmax(axis=0).astype(np.uint8))
    else:
        return None
    return np.concatenate([image, drawn], axis=1)
