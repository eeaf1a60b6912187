"""train-cls: train the method's classifier on image-level labels."""

from __future__ import annotations

from ..data.index import read_index
from ..engine import checkpoint, processes
from ..engine.fit import Loop, usable_samples
from ..plugin.protocols import TrainingJob
from . import Context, Result, begin, up_to_date
from .plugins import check_extras, header_of, method_of


def run(context: Context) -> Result:
    """Write train-cls/model.safetensors and metrics.jsonl."""
    context.run.require("prepare")
    index = read_index(context.prepared)
    section = context.recipe.section("train-cls")
    method = method_of(context, index.classes)
    samples = index.samples(*context.recipe.recipe.dataset.train)
    check_extras(section.method.name, method.required.training, samples)
    if begin(context, "train-cls") == "done":
        return up_to_date("train-cls")
    folder = context.run.folder("train-cls")
    loop = Loop(context.recipe.section("runtime"), header=header_of(context, "train-cls", method), quiet=context.quiet)
    job = TrainingJob(
        dir=folder,
        samples=samples,
        classes=index.classes,
        settings=section,
        seed=context.recipe.recipe.seed,
        fingerprint=context.run.fingerprint("train-cls"),
        keep_unlabelled=section.unlabelled == "keep",
    )
    method.train(job, loop)
    learnt = usable_samples(method, job)
    skipped, negatives = len(samples) - len(learnt), sum(not sample.labels for sample in learnt)
    weights = checkpoint.read_header(folder / checkpoint.MODEL).get("weights", "unknown")
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
