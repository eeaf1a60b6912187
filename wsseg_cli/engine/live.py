"""Pictures of a training as it goes, in TensorBoard: what the network makes of a few training images by now."""

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
"""So many of the training images are shown, always the same."""


def log_pictures(
    trackers: Sequence[Any], trainable: Trainable[Any, Any], model: nn.Module, job: TrainingJob, step: int
) -> None:
    """Send the first images of `job`, each beside its maps or prediction, to TensorBoard if that tracker is on.

    The network is left as it was, so nothing that is trained depends on whether somebody watches.
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
    """Hold the network in eval mode, with gradients if asked for; then give every module back the mode that it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        # not inference_mode: a tensor that a module keeps from here could not enter a backward pass later
        with torch.set_grad_enabled(gradients):
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _shown(trainable: Trainable[Any, Any], model: nn.Module, job: TrainingJob, sample: Sample) -> ByteArray | None:
    """Return (H, 2W, 3) uint8: the image and what comes out of it in one view; None for what makes no picture."""
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
