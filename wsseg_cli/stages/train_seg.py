"""train-seg: train the segmentation network on pseudo-masks, or on ground truth if the recipe says so."""

from __future__ import annotations

from dataclasses import replace

from ..data.stores import MaskStore
from ..engine import checkpoint, processes
from ..engine.fit import Loop
from ..errors import DataError
from ..plugin.protocols import TrainingJob
from . import Context, Result, begin, up_to_date
from .per_image import with_file
from .plugins import classifier, header_of, segmenter_of
from .prepared import prepared
from .pseudo import training_masks


def run(context: Context) -> Result:
    """Write train-seg/model.safetensors and metrics.jsonl."""
    index = prepared(context)
    section = context.recipe.section("train-seg")
    train = context.recipe.recipe.dataset.train
    if section.masks == "pseudo":
        context.run.require("pseudo", train)
    backbone = classifier(context, "train_seg") if section.weights == "train_cls" else None
    segmenter = segmenter_of(context, index.classes)
    samples = index.samples(*train)
    if section.masks == "pseudo":
        source = context.run.source("train-seg", "pseudo")
        masks = MaskStore(training_masks(source, context.recipe.recipe.pseudo))
        there = with_file(context, "pseudo", samples, masks)
        if len(there) < len(samples) and not context.skip_missing:
            raise DataError(
                f"{len(samples) - len(there)} of {len(samples)} images have no pseudo-mask; run `wsseg pseudo --force` "
                "first, or leave them out with `--skip-missing`"
            )
        samples = [replace(sample, mask=masks.path(sample.image_id)) for sample in there]
    else:
        lacking = [sample.image_id for sample in samples if sample.mask is None]
        if lacking:
            raise DataError(f"masks: ground_truth, but {len(lacking)} images have no mask, such as {lacking[0]!r}")
    if begin(context, "train-seg") == "done":
        return up_to_date("train-seg")
    folder = context.run.folder("train-seg")
    header = header_of(context, "train-seg", section.segmenter.name, segmenter) | {"masks": section.masks}
    loop = Loop(context.recipe.section("runtime"), header=header, backbone=backbone, quiet=context.quiet)
    job = TrainingJob(
        dir=folder,
        samples=samples,
        classes=index.classes,
        settings=section,
        seed=context.recipe.recipe.seed,
        fingerprint=context.run.fingerprint("train-seg"),
    )
    segmenter.train(job, loop)
    weights = checkpoint.read_header(folder / checkpoint.MODEL).get("weights", "unknown")
    if processes.is_main():
        context.run.finish("train-seg", images=len(samples), weights=weights, masks=section.masks)
    processes.barrier()
    supervision = "ground truth (fully supervised)" if section.masks == "ground_truth" else "pseudo-masks"
    line = f"train-seg  {section.segmenter.name} on {len(samples)} {supervision}; initial weights: {weights}"
    return Result("train-seg", [line], {"weights": weights, "images": len(samples), "masks": section.masks})
