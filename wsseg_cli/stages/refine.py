"""refine: train the refiner if it learns, then make every score map better."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.images import read_image
from ..data.index import Index, read_index
from ..data.loader import extras_of
from ..data.stores import ScoreStore
from ..engine import checkpoint, processes
from ..engine.each import Work
from ..engine.fit import Loop
from ..errors import RecipeError, StageError
from ..plugin.protocols import Refiner, TrainingJob
from ..recipe.sections import RefineSettings
from ..types import Sample
from . import Context, Result, begin, up_to_date
from .per_image import LabelRule, device_and_workers, label_rule, run_each, splits_of
from .pictures import write_overlays
from .plugins import at_inference, check_extras, header_of, method_of, refiner_of, trained


def run(context: Context, split: str | None = None, overlays: int = 0) -> Result:
    """Write refine/ID.safetensors for every image of the splits; train in refine/train first if the refiner learns."""
    context.run.require("prepare")
    splits = splits_of(context, split)
    context.run.require("cam", splits)
    index = read_index(context.prepared)
    section = context.recipe.section("refine")
    refiner = refiner_of(context, index.classes)
    samples = index.samples(*splits)
    folder = context.run.folder("refine")
    state = begin(context, "refine", splits)
    if state != "done":
        source = context.run.source("refine", "cam")
        _check_resolutions(context, index, refiner, samples)
        check_extras(section.refiner.name, refiner.required.inference, samples)
        if refiner.required.trains:
            _train(context, refiner, section, index, source)
        device, workers = device_and_workers(context)
        model_file = folder / "train" / checkpoint.MODEL if refiner.required.trains else None
        arguments = (refiner, model_file, context.prepared, source, folder, section, label_rule(context), device)
        run_each(context, "refine", samples, ScoreStore(folder).missing, _computer, arguments, workers)
        if processes.is_main():
            context.run.finish("refine", splits, images=len(ScoreStore(folder)))
        processes.barrier()
    pictures = write_overlays(folder, ScoreStore(folder), samples, index.classes, overlays)
    if state == "done":
        done = up_to_date("refine")
        return replace(done, lines=done.lines + pictures)
    line = f"refine     {len(samples)}/{len(samples)}  {section.refiner.name}"
    return Result("refine", [line, *pictures], {"images": len(samples)})


def _check_resolutions(context: Context, index: Index, refiner: Refiner[Any, Any], samples: Sequence[Sample]) -> None:
    """Refuse the run's own score maps if they were stored before the recipe had a refiner that asks for more."""
    own = "cam" not in context.run.use and context.recipe.recipe.train_cls is not None
    if not (own and refiner.required.strided and method_of(context, index.classes).gives_strided):
        return
    lacking = ScoreStore(context.run.folder("cam")).without_strided(sample.image_id for sample in samples)
    if lacking:
        raise StageError(
            f"{len(lacking)} score maps, such as {lacking[0]!r}, lack the second resolution that the refiner begins "
            "from: they were made for another one; run `wsseg cam --force` first"
        )


def _train(context: Context, refiner: Refiner[Any, Any], section: RefineSettings, index: Index, source: Path) -> None:
    if section.train is None:
        raise RecipeError(f"refiner {section.refiner.name!r} has to be trained: give refine.train")
    samples = index.samples(*context.recipe.recipe.dataset.train)
    check_extras(section.refiner.name, refiner.required.training, samples)
    runtime = context.recipe.section("runtime")
    own = section.train.weights == "train_cls"
    backbone = context.run.folder("train-cls") / checkpoint.MODEL if own else None
    loop = Loop(runtime, header=header_of(context, "refine", refiner), backbone=backbone, quiet=context.quiet)
    job = TrainingJob(
        dir=context.run.folder("refine") / "train",
        samples=samples,
        classes=index.classes,
        settings=section.train,
        seed=context.recipe.recipe.seed,
        cams=ScoreStore(source),
        fingerprint=context.run.fingerprint("refine"),
        workers=processes.worker_count(runtime),
    )
    refiner.train(job, loop)
    processes.barrier()


def _computer(
    refiner: Refiner[Any, Any],
    model_file: Path | None,
    prepared: Path,
    source: Path,
    folder: Path,
    section: RefineSettings,
    rule: LabelRule,
    device: str,
) -> Work:
    """Return the function that refines the score map of one image."""
    index = read_index(prepared)
    coarse, store = ScoreStore(source), ScoreStore(folder)
    model = trained(refiner, model_file, device) if model_file else None

    def compute(image_id: str) -> None:
        sample = index.entries[image_id].sample
        image = read_image(sample.image, sample.orientation)
        labels, extras = rule.labels(index, image_id), extras_of(sample, refiner.required.inference)
        with at_inference(refiner):
            scores = refiner.refine(model, image, labels, coarse[image_id], section.infer, **extras)
        store.write(replace(scores, image_id=image_id), section.store_stride)

    return compute
