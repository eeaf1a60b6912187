"""pseudo: score maps to masks, by threshold or background power, with a dense CRF if asked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..data.images import read_image
from ..data.index import read_index
from ..data.stores import MaskStore, ScoreStore, stems_in
from ..engine import processes
from ..engine.each import Work
from ..errors import DataError
from ..ops.masks import label_scores, mask_from_scores, without_unsure
from ..plugin.protocols import Method
from ..recipe.sections import PseudoSettings
from ..types import ByteArray, ScoreMap
from . import Context, Result, begin, up_to_date
from .per_image import device_and_workers, run_each, splits_of
from .pictures import write_overlays
from .plugins import crf_image, method_of
from .prepared import prepared

CONFIDENT = "confident"
"""The folder beside the masks with those that a training reads, where `pseudo.confidence` is set."""


def run(context: Context, split: str | None = None, overlays: int = 0) -> Result:
    """Write pseudo/ID.png, values as in ClassNames, for every image of the splits.

    With `pseudo.confidence` also pseudo/confident/ID.png: the same with 255 where the CRF is unsure, for the training.
    """
    index = prepared(context, split)
    splits = splits_of(context, split)
    reads = "refine" if context.recipe.recipe.refine else "cam"
    context.run.require(reads, splits)
    samples = index.samples(*splits)
    section = context.recipe.section("pseudo")
    folder = context.run.folder("pseudo")
    state = begin(context, "pseudo", splits)
    if state != "done":
        device, workers = device_and_workers(context)
        published = section.crf is not None and section.crf.image == "published"
        method = method_of(context, index.classes) if published else None
        arguments = (context.prepared, context.run.source("pseudo", reads), folder, section, method, device)
        run_each(context, "pseudo", samples, MaskStore(folder).missing, _computer, arguments, workers)
        if processes.is_main():
            context.run.finish("pseudo", splits, images=len(stems_in(folder, MaskStore.suffix)))
        processes.barrier()
    pictures = write_overlays(folder, MaskStore(folder), samples, index.classes, overlays)
    if state == "done":
        done = up_to_date("pseudo")
        return replace(done, lines=done.lines + pictures)
    return Result("pseudo", [f"pseudo     {len(samples)}/{len(samples)}", *pictures], {"images": len(samples)})


def _computer(
    prepared: Path, source: Path, folder: Path, section: PseudoSettings, method: Method | None, device: str
) -> Work:
    """Return the function that writes the pseudo-mask of one image."""
    index = read_index(prepared)
    scores, masks, confident = ScoreStore(source), MaskStore(folder), MaskStore(folder / CONFIDENT)

    def compute(image_id: str) -> None:
        sample = index.entries[image_id].sample
        score_map = scores[image_id]
        if score_map.size != index.size(image_id):
            raise DataError(f"score map of {image_id!r} is for {score_map.size}, the image is {index.size(image_id)}")
        if len(score_map.classes) and int(score_map.classes.max()) >= len(index.classes):
            raise DataError(
                f"score map of {image_id!r} has class {int(score_map.classes.max())}; there are {len(index.classes)}"
            )
        image = None
        if section.crf:
            image = crf_image(section.crf, method, read_image(sample.image, sample.orientation))
        mask, learnt = pseudo_masks(score_map, section, image, device)
        if section.confidence is not None:
            confident.write(image_id, learnt)  # first: an image counts as done by its mask
        masks.write(image_id, mask)

    return compute


def pseudo_mask(
    scores: ScoreMap, section: PseudoSettings, image: ByteArray | None = None, device: str = "cpu"
) -> ByteArray:
    """Return the (H, W) mask of class values that a recipe's `pseudo` section makes of a score map.

    image: (H, W, 3) uint8, what the CRF sees, needed with one. A map without a class is all background.
    """
    return pseudo_masks(scores, section, image, device)[0]


def pseudo_masks(
    scores: ScoreMap, section: PseudoSettings, image: ByteArray | None = None, device: str = "cpu"
) -> tuple[ByteArray, ByteArray]:
    """Return the mask as `pseudo_mask` does, and the one that a training reads: 255 below `pseudo.confidence`."""
    full = label_scores(scores, **arithmetic(section), crf=section.crf, image=image, device=device)
    mask = mask_from_scores(full, scores.classes)
    return mask, mask if section.confidence is None else without_unsure(mask, full, section.confidence)


def arithmetic(section: PseudoSettings) -> dict[str, Any]:
    """Return what a `pseudo` section says of `ScoreMap.full`: the background score and the type of the numbers."""
    background = section.background.model_dump() if section.background else {}
    return background | {"dtype": np.float16 if section.precision == "fp16" else np.float32}


def training_masks(folder: Path, section: PseudoSettings | None) -> Path:
    """Return where the masks of a pseudo folder lie that a training reads; of a folder of --use its own."""
    confident = folder / CONFIDENT
    return confident if section is not None and section.confidence is not None and confident.is_dir() else folder
