"""cam: score maps of the train and score splits, or of another split, from the trained classifier."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.images import read_image
from ..data.loader import extras_of
from ..data.lookup import look_up
from ..data.stores import ScoreStore
from ..engine import checkpoint, processes
from ..engine.each import Work
from ..errors import RecipeError, StageError
from ..ops.resize import shrunk
from ..plugin.protocols import Method
from ..recipe.sections import CamSettings
from . import Context, Result, begin, up_to_date
from .collect import check_extras
from .per_image import LabelRule, device_and_workers, label_rule, run_each, splits_of
from .pictures import write_overlays
from .plugins import at_inference, method_of, trained, wants_strided
from .prepared import prepared


def run(context: Context, split: str | None = None, overlays: int = 0) -> Result:
    """Write cam/ID.safetensors for every image of the splits."""
    index = prepared(context, split)
    context.run.require("train-cls")
    splits = splits_of(context, split)
    samples = index.samples(*splits)
    folder = context.run.folder("cam")
    section = context.recipe.section("cam")
    state = begin(context, "cam", splits)
    if state != "done":
        method = method_of(context, index.classes)
        check_extras(context.recipe.section("train-cls").method.name, method.required.inference, samples)
        model_file = context.run.folder("train-cls") / checkpoint.MODEL
        if not model_file.is_file():
            raise StageError(f"{model_file} is missing; run `wsseg train-cls --force`")
        runtime, gradients = context.recipe.section("runtime"), method.required.gradients
        device, workers = device_and_workers(runtime, precision=section.infer.precision, gradients=gradients)
        strided = method.gives_strided and wants_strided(context, index.classes)
        _check_windows(section, context.recipe.section("train-cls").method.name, method.sees_windows, strided)
        arguments = (method, model_file, context.prepared, folder, section, label_rule(context), strided, device)
        run_each(context, "cam", samples, ScoreStore(folder).missing, _computer, arguments, workers)
        if processes.is_main():
            context.run.finish("cam", splits, images=len(ScoreStore(folder)))
        processes.barrier()
    pictures = write_overlays(folder, ScoreStore(folder), samples, index.classes, overlays)
    if state == "done":
        done = up_to_date("cam")
        return replace(done, lines=done.lines + pictures)
    return Result("cam", [f"cam        {len(samples)}/{len(samples)}", *pictures], {"images": len(samples)})


def _check_windows(section: CamSettings, method: str, sees_windows: bool, strided: bool) -> None:
    """Refuse windows that nothing would use.

    Raises:
        RecipeError: the method works on whole images, or the refiner starts from maps that are made of whole images.
    """
    if section.infer.tile is not None and not sees_windows:
        raise RecipeError(f"cam.infer.tile: method {method!r} looks at whole images; leave it out")
    if section.infer.tile is not None and strided:
        raise RecipeError("cam.infer.tile: the refiner begins from a second map, which is made of whole images")


def _computer(
    method: Method[Any, Any],
    model_file: Path,
    prepared: Path,
    folder: Path,
    section: CamSettings,
    rule: LabelRule,
    strided: bool,
    device: str,
) -> Work:
    """Return the function that writes the score map of one image."""
    index = look_up(prepared)
    store = ScoreStore(folder)
    model = trained(method, model_file, device, fast=section.fold_norms or section.infer.precision != "fp32")

    def compute(image_id: str) -> None:
        sample = index.entries[image_id].sample
        whole, longest = read_image(sample.image, sample.orientation), section.infer.longest
        image = shrunk(whole, longest)
        extras = {name: shrunk(one, longest) for name, one in extras_of(sample, method.required.inference).items()}
        with at_inference(method, section.infer.precision, device):
            scores = method.scores(model, image, rule.labels(index, image_id), section.infer, **extras)
        kept = scores.strided if strided else None
        seen, size = scores.size, (int(whole.shape[0]), int(whole.shape[1]))
        store.write(replace(scores, image_id=image_id, strided=kept, size=size), section.store_stride, seen)

    return compute
