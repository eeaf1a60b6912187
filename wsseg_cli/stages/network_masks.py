"""The masks of the trained segmentation network on a split: what `eval` scores as `seg`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.index import Index
from ..data.lookup import look_up
from ..data.sources import content
from ..data.stores import MaskStore
from ..data.strips import Pixels
from ..disk.records import read_record
from ..disk.writing import remove
from ..engine import checkpoint, processes
from ..engine.each import Work
from ..plugin.protocols import Predictor
from ..recipe.evaluating import EvalSettings
from ..run.records import write_json
from ..types import Sample
from . import Context
from .per_image import device_and_workers, run_each
from .plugins import network_stage, predictor_of, trained
from .windows import network_mask

_NETWORK = "network.json"
"""The record next to the masks with the hash of the model file that predicted them."""


def predict_split(context: Context, index: Index, samples: Sequence[Sample], split: str) -> Path:
    """Return the folder of the network's masks of a split, after predicting the missing ones.

    Raises:
        CheckpointError: the network cannot be loaded. DataError: some images failed.
    """
    predictor = predictor_of(context, index.classes)
    model_file = context.run.folder(network_stage(context.recipe.recipe)) / checkpoint.MODEL
    folder = context.run.folder("eval") / f"seg-{split}"
    if processes.is_main():
        _discard_older(folder, model_file)
    processes.barrier()
    section = context.recipe.section("eval")
    device, workers = device_and_workers(context.recipe.section("runtime"), precision=section.infer.precision)
    arguments = (predictor, model_file, context.prepared, folder, section, device)
    run_each(context, "eval", samples, MaskStore(folder).missing, _predictor, arguments, workers)
    processes.barrier()
    return folder


def _discard_older(folder: Path, model_file: Path) -> None:
    """Delete masks that another network predicted, and record which one predicts now."""
    network = {"model": content(model_file)}
    if read_record(folder / _NETWORK, dict[str, str], f"delete {folder}") != network:
        remove(folder)
        write_json(folder / _NETWORK, network)


def _predictor(
    predictor: Predictor[Any, Any], model_file: Path, prepared: Path, folder: Path, section: EvalSettings, device: str
) -> Work:
    """Return the function that writes the network's mask of one image."""
    index = look_up(prepared)
    masks = MaskStore(folder)
    model = trained(predictor, model_file, device, fast=True)

    def predict(image_id: str) -> None:
        sample = index.entries[image_id].sample
        pixels = Pixels(sample.image, sample.orientation)
        mask, _ = network_mask(predictor, model, section, pixels, section.infer.longest, device)
        masks.write(image_id, mask)

    return predict
