"""pseudo: score maps to masks, by threshold or background power, with a dense CRF if asked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..data.images import read_image
from ..data.lookup import look_up
from ..data.stores import CONFIDENCE, MaskStore, ScoreStore, stems_in, write_confidence
from ..engine import processes
from ..engine.each import Work
from ..errors import DataError, PluginError
from ..ops.masks import confidence_of, grey_levels, mask_and_marginals
from ..plugin.protocols import MaskRefiner, Method
from ..recipe.ignore import IgnoreSettings
from ..recipe.sections import PseudoSettings
from ..types import IGNORE, ByteArray, ClassNames, FloatArray, Sample, ScoreMap
from . import Context, Result, begin, up_to_date
from .background import settled
from .per_image import cpu_workers, device_and_workers, run_each, splits_of, with_file
from .pictures import write_overlays
from .plugins import crf_image, mask_refiner_of, method_of
from .prepared import prepared

CONFIDENT = "confident"
"""The folder next to the masks with those that a training reads, with `pseudo.ignore.only_training`."""

_SHOWN = 5


def run(context: Context, split: str | None = None, overlays: int = 0) -> Result:
    """Write pseudo/ID.png, values as in ClassNames, for every image of the splits.

    With `pseudo.ignore.only_training` also pseudo/confident/ID.png: the same with 255 where they are unsure, for the
    training; with `pseudo.store_confidence` pseudo/confidence/ID.png, how sure.
    """
    index = prepared(context, split)
    splits = splits_of(context, split)
    reads = "refine" if context.recipe.recipe.refine else "cam"
    context.run.require(reads, splits)
    samples = index.samples(*splits)
    section, runtime = context.recipe.section("pseudo"), context.recipe.section("runtime")
    folder = context.run.folder("pseudo")
    if context.skip_missing or reads in context.run.use:
        samples = with_file(context, reads, samples, ScoreStore(context.run.source("pseudo", reads)))
    refiner = mask_refiner_of(context.recipe, index.classes)
    if refiner is not None and (context.force or not context.run.done("pseudo")):
        require(refiner, [sample.image_id for sample in samples])
    state = begin(context, "pseudo", splits)
    said: list[str] = []
    found = None
    if state != "done":
        device, workers = "cpu", cpu_workers(runtime)
        if section.crf is not None and section.crf.backend == "torch":
            device, workers = device_and_workers(runtime)
        published = section.crf is not None and section.crf.image == "published"
        method = method_of(context, index.classes) if published else None
        source = context.run.source("pseudo", reads)
        section, found = settled(context, section, index, source)
        said = [f"           threshold {found.threshold:.2f}, {found.said}"] if found else []
        arguments = (context.prepared, source, folder, section, method, refiner, device)
        run_each(context, "pseudo", samples, MaskStore(folder).missing, _computer, arguments, workers)
        if processes.is_main():
            context.run.finish("pseudo", splits, images=len(stems_in(folder, MaskStore.suffix)))
        processes.barrier()
    pictures = write_overlays(folder, MaskStore(folder), samples, index.classes, overlays)
    if state == "done":
        done = up_to_date("pseudo")
        return replace(done, lines=done.lines + pictures)
    lines = [f"pseudo     {len(samples)}/{len(samples)}", *said, *pictures]
    facts = {"threshold": found.model_dump()} if found else {}
    return Result("pseudo", lines, {"images": len(samples)} | facts)


def _computer(
    prepared: Path,
    source: Path,
    folder: Path,
    section: PseudoSettings,
    method: Method | None,
    refiner: MaskRefiner | None,
    device: str,
) -> Work:
    """Return the function that writes the pseudo-mask of one image."""
    index = look_up(prepared)
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
        mask, confidence = labelled(score_map, section, image, device)
        if refiner is not None:
            mask = refined_mask(refiner, sample, mask, index.classes)
        if section.store_confidence and confidence is not None:  # first: an image counts as done once its mask exists
            write_confidence(folder / CONFIDENCE, image_id, grey_levels(confidence))
        kept, learnt = with_ignored(mask, confidence, section.ignore)
        if section.ignore is not None and section.ignore.only_training:
            confident.write(image_id, learnt)
        masks.write(image_id, kept)

    return compute


def require(refiner: MaskRefiner, image_ids: Sequence[str]) -> None:
    """Check that what a mask refiner reads is there for all images, before the first mask is written.

    Raises:
        DataError: something is missing, with the count and the first lines.
    """
    if lines := refiner.missing(image_ids):
        more = [f"… and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise DataError("\n  ".join([f"pseudo.refiner: {len(lines)} missing", *lines[:_SHOWN], *more]))


def refined_mask(refiner: MaskRefiner, sample: Sample, mask: ByteArray, classes: ClassNames) -> ByteArray:
    """Return the refined (H, W) mask of an image, its size and values checked.

    Raises:
        DataError: what the refiner reads does not match. PluginError: it does not give a mask of the image.
    """
    size = mask.shape
    refined = np.asarray(refiner.refine_mask(sample, mask))
    if refined.shape != size or refined.dtype != np.uint8:
        raise PluginError(f"{type(refiner).__name__} gives {refined.dtype} {refined.shape} for a mask uint8 {size}")
    if (above := refined[(refined > len(classes)) & (refined != IGNORE)]).size:
        raise PluginError(f"{type(refiner).__name__} gives the value {int(above.max())} with {len(classes)} classes")
    return refined


def pseudo_mask(
    scores: ScoreMap, section: PseudoSettings, image: ByteArray | None = None, device: str = "cpu"
) -> ByteArray:
    """Return the (H, W) mask of class values that a recipe's `pseudo` section makes of a score map.

    image: (H, W, 3) uint8, what the CRF sees, needed with one. A map without a class is all background.
    With a low and a high background, pixels that are background with the high one alone are 255 (ToCo, offline masks);
    with `ignore`, those that are not sure enough, unless only a training leaves them out.
    """
    return pseudo_masks(scores, section, image, device)[0]


def pseudo_masks(
    scores: ScoreMap, section: PseudoSettings, image: ByteArray | None = None, device: str = "cpu"
) -> tuple[ByteArray, ByteArray]:
    """Return the mask as `pseudo_mask` does, and the one that a training reads."""
    return with_ignored(*labelled(scores, section, image, device), section.ignore)


def labelled(
    scores: ScoreMap, section: PseudoSettings, image: ByteArray | None, device: str
) -> tuple[ByteArray, FloatArray | None]:
    """Return the (H, W) mask before any pixel is ignored, and how sure it is, in [0, 1], where the section asks."""
    power, constants = _background(section)
    half = section.precision == "fp16"
    (mask, marginals), *looser = (
        mask_and_marginals(scores, threshold=one, power=power, crf=section.crf, image=image, device=device, half=half)
        for one in constants
    )
    for other, _ in looser:
        mask[(mask == 0) & (other != 0)] = IGNORE
    if section.ignore is None and not section.store_confidence:
        return mask, None
    return mask, confidence_of(scores, marginals, threshold=constants[0], power=power, half=half)


def with_ignored(
    mask: ByteArray, confidence: FloatArray | None, ignore: IgnoreSettings | None
) -> tuple[ByteArray, ByteArray]:
    """Return a mask as `eval` reads it and as a training does, 255 where its (H, W) confidence is too low."""
    if ignore is None or confidence is None:
        return mask, mask
    learnt = np.where(confidence < ignore.below, np.uint8(IGNORE), mask)
    return (mask if ignore.only_training else learnt), learnt


def _background(section: PseudoSettings) -> tuple[float | None, tuple[float | None, ...]]:
    """Return the power of the background and its constant scores, one mask each.

    Raises:
        DataError: it says "auto", which the stage has to settle first.
    """
    if section.background == "auto":
        raise DataError("pseudo.background: auto needs the score maps of all training images; give a threshold")
    background = section.background
    return (None, (None,)) if background is None else (background.power, background.constants)


def training_masks(folder: Path, section: PseudoSettings | None) -> Path:
    """Return where the masks of a pseudo folder lie that a training reads; of a folder of --use its own."""
    confident, ignore = folder / CONFIDENT, section.ignore if section is not None else None
    return confident if ignore is not None and ignore.only_training and confident.is_dir() else folder
