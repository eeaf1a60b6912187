"""train-cls: train the method's classifier on image-level labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..engine import checkpoint, processes
from ..engine.fit import Loop, usable_samples
from ..engine.frozen import write_frozen
from ..errors import RecipeError, WssegError
from ..plugin.protocols import Method, TrainingJob
from ..recipe.plugin_problems import MISSING_TRAINING
from ..recipe.sections import FrozenClsSettings, TrainClsSettings
from ..types import Json
from . import Context, Result, begin, up_to_date
from .collect import check_extras
from .plugins import header_of, method_of
from .prepared import prepared


def run(context: Context) -> Result:
    """Write train-cls/model.safetensors and metrics.jsonl."""
    index = prepared(context)
    section = context.recipe.section("train-cls")
    method = method_of(context, index.classes)
    _agree(method.required.trains, section)
    samples = index.samples(*context.recipe.recipe.dataset.train)
    check_extras(section.method.name, method.required.training, samples)
    if begin(context, "train-cls") == "done":
        return up_to_date("train-cls")
    path = context.run.folder("train-cls") / checkpoint.MODEL
    header = header_of(context, "train-cls", section.method.name, method)
    if not isinstance(section, TrainClsSettings):
        return _freeze(context, method, section, path, header)
    job = TrainingJob(
        dir=path.parent,
        samples=samples,
        classes=index.classes,
        settings=section,
        seed=context.recipe.recipe.seed,
        fingerprint=context.run.fingerprint("train-cls"),
        keep_unlabelled=section.unlabelled == "keep",
    )
    method.train(job, Loop(context.recipe.section("runtime"), header=header, quiet=context.quiet))
    learnt = usable_samples(method, job)
    skipped, negatives = len(samples) - len(learnt), sum(not sample.labels for sample in learnt)
    weights = checkpoint.read_header(path).get("weights", "unknown")
    if processes.is_main():
        context.run.finish(
            "train-cls",
            images=len(learnt),
            unlabelled=skipped,
            weights=weights,
            processes=processes.world(),
        )
    processes.barrier()
    said = f", {negatives} of them negatives" if negatives else ""
    said += f", {skipped} images without a label left out" if skipped else ""
    line = f"train-cls  {section.method.name} on {len(learnt)} images{said}; initial weights: {weights}"
    figures = {"weights": weights, "images": len(learnt), "negatives": negatives, "unlabelled": skipped}
    return Result("train-cls", [line], figures)


def _freeze(context: Context, method: Method[Any, Any], section: FrozenClsSettings, path: Path, header: Json) -> Result:
    """Write the model file of a method that learns nothing: it names the weights and holds none."""
    error: WssegError | None = None
    weights = ""
    if processes.is_main():
        header = header | {"fingerprint": context.run.fingerprint("train-cls")}
        try:
            weights = write_frozen(path, method, section.weights, header)
            context.run.finish("train-cls", images=0, unlabelled=0, weights=weights, processes=processes.world())
        except WssegError as caught:
            error = caught
    weights = processes.agree(error or weights)
    line = f"train-cls  {section.method.name} learns nothing; weights: {weights}"
    return Result("train-cls", [line], {"weights": weights, "images": 0, "unlabelled": 0})


def _agree(trains: bool, section: TrainClsSettings | FrozenClsSettings) -> None:
    """Check that a section has the keys of a training if, and only if, its method trains.

    Raises:
        RecipeError: it does not.
    """
    name = section.method.name
    if trains and not isinstance(section, TrainClsSettings):
        raise RecipeError(f"train_cls: method {name!r} trains: {MISSING_TRAINING}")
    if not trains and isinstance(section, TrainClsSettings):
        keys = sorted(section.model_fields_set - {"method", "weights"})
        raise RecipeError(
            f"train_cls.{keys[0]} is not used: method {name!r} learns nothing; leave out {', '.join(keys)}"
        )
