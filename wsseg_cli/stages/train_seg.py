"""train-seg: train the segmentation network on pseudo-masks, corrected ones or ground truth, as the recipe says."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from ..data.index import Index
from ..data.stores import MaskStore
from ..engine import checkpoint, processes
from ..engine.fit import Loop
from ..errors import DataError
from ..plugin.protocols import TrainingJob
from ..types import Json, Sample
from . import Context, Result, begin, up_to_date
from .hand_masks import hand_masks, masks_said
from .per_image import with_file
from .plugins import classifier, header_of, segmenter_of
from .prepared import prepared
from .pseudo import training_masks


def run(context: Context) -> Result:
    """Write train-seg/model.safetensors and metrics.jsonl."""
    index = prepared(context)
    section = context.recipe.section("train-seg")
    if section.masks != "ground_truth":
        context.run.require("pseudo", context.recipe.recipe.dataset.train)
    backbone = classifier(context, "train_seg") if section.weights == "train_cls" else None
    segmenter = segmenter_of(context, index.classes)
    learnt = _learnt_from(context, index)
    if begin(context, "train-seg") == "done":
        return up_to_date("train-seg")
    folder = context.run.folder("train-seg")
    header = header_of(context, "train-seg", section.segmenter.name, segmenter) | learnt.facts
    loop = Loop(context.recipe.section("runtime"), header=header, backbone=backbone, quiet=context.quiet)
    job = TrainingJob(
        dir=folder,
        samples=[*learnt.samples, *learnt.again],
        classes=index.classes,
        settings=section,
        seed=context.recipe.recipe.seed,
        fingerprint=context.run.fingerprint("train-seg"),
    )
    segmenter.train(job, loop)
    weights = checkpoint.read_header(folder / checkpoint.MODEL).get("weights", "unknown")
    facts = {"images": len(learnt.samples), "weights": weights} | learnt.facts
    if processes.is_main():
        context.run.finish("train-seg", **facts)
    processes.barrier()
    line = f"train-seg  {section.segmenter.name} on {len(learnt.samples)} {masks_said(learnt.facts)}"
    return Result("train-seg", [f"{line}; initial weights: {weights}"], facts)


@dataclass(frozen=True)
class _Learnt:
    """The training samples with the mask that is learnt of each, those that are repeated, and what is said of both."""

    samples: list[Sample]
    facts: Json
    again: list[Sample] = field(default_factory=list)


def _learnt_from(context: Context, index: Index) -> _Learnt:
    """Return what is learnt from.

    Raises:
        DataError: images without a mask, or hand masks that cannot be used.
    """
    section = context.recipe.section("train-seg")
    samples = index.samples(*context.recipe.recipe.dataset.train)
    facts: Json = {"masks": section.masks}
    if section.masks == "ground_truth":
        lacking = [sample.image_id for sample in samples if sample.mask is None]
        if lacking:
            raise DataError(f"masks: ground_truth, but {len(lacking)} images have no mask, such as {lacking[0]!r}")
        return _Learnt(samples, facts)
    hand = hand_masks(context.recipe, index)
    pseudo = _with_pseudo_mask(context, [sample for sample in samples if sample.image_id not in hand])
    corrected = [replace(sample, mask=hand[sample.image_id]) for sample in samples if sample.image_id in hand]
    if section.masks == "corrected":
        facts["learnt_from"] = {"pseudo": len(pseudo), "hand": len(corrected)}
        facts["repeat_corrected"] = section.repeat_corrected
        _remark(context, len(hand) - len(corrected), section.hand_folder, len(corrected))
    return _Learnt(_in_order(samples, [*pseudo, *corrected]), facts, corrected * (section.repeat_corrected - 1))


def _with_pseudo_mask(context: Context, samples: list[Sample]) -> list[Sample]:
    source = context.run.source("train-seg", "pseudo")
    masks = MaskStore(training_masks(source, context.recipe.recipe.pseudo))
    there = with_file(context, "pseudo", samples, masks) if samples else []
    if len(there) < len(samples) and not context.skip_missing:
        raise DataError(
            f"{len(samples) - len(there)} of {len(samples)} images have no pseudo-mask; run `wsseg pseudo --force` "
            "first, or leave them out with `--skip-missing`"
        )
    return [replace(sample, mask=masks.path(sample.image_id)) for sample in there]


def _remark(context: Context, of_others: int, folder: Path | None, used: int) -> None:
    if not used:
        where = "of the data set" if folder is None else f"in {folder}"
        context.notes.append(f"no training image has a hand mask {where}: the network learns from pseudo-masks alone")
    if of_others and folder is not None:
        context.notes.append(f"{of_others} hand masks in {folder} are of images that are not trained on: left out")


def _in_order(samples: list[Sample], chosen: list[Sample]) -> list[Sample]:
    """Return the chosen in the order of the split, so that a hand mask moves no other image."""
    by_id = {sample.image_id: sample for sample in chosen}
    return [by_id[sample.image_id] for sample in samples if sample.image_id in by_id]
