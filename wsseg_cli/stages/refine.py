"""refine: train each refiner that learns, then improve every score map."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..data.images import read_image
from ..data.index import Index
from ..data.loader import extras_of
from ..data.lookup import look_up
from ..data.stores import ScoreStore
from ..engine import checkpoint, processes
from ..engine.each import Work
from ..engine.fit import Loop
from ..errors import RecipeError, StageError
from ..ops.cam import STRIDE
from ..ops.resize import shrunk, strided_size
from ..plugin.protocols import Refiner, TrainingJob
from ..recipe.sections import RefinerChoice
from ..run.directory import State
from ..run.fingerprint import reads_of
from ..settings import InferSettings
from ..types import ByteArray, Sample, ScoreMap, resize_scores
from . import Context, Result, begin, up_to_date
from .collect import check_extras
from .per_image import LabelRule, cpu_workers, device_and_workers, label_rule, run_each, splits_of, with_file
from .pictures import write_overlays
from .plugins import at_inference, classifier, header_of, method_of, refiner_of, trained
from .prepared import prepared


def run(context: Context, split: str | None = None, overlays: int = 0) -> Result:
    """Write refine/ID.safetensors for every image of the splits; of several refiners, the earlier ones to refine-N.

    A refiner that learns trains first, in train/ of its folder.
    """
    index = prepared(context, split)
    splits = splits_of(context, split)
    context.run.require("cam", splits)
    section = context.recipe.section("refine")
    parts = [
        _Part(context, index, stage, choice, number, section.store_stride)
        for number, (stage, choice) in enumerate(zip(context.recipe.recipe.refine_parts, section.chain, strict=True))
    ]
    samples = index.samples(*splits)
    if context.skip_missing or "cam" in context.run.use:
        samples = with_file(context, "cam", samples, ScoreStore(context.run.source(parts[0].stage, "cam")))
    anew = _first_anew(context, parts) if context.force else len(parts)
    states = [part.run(samples, splits, force=number >= anew) for number, part in enumerate(parts)]
    store = ScoreStore(context.run.folder("refine"))
    pictures = write_overlays(store.folder, store, samples, index.classes, overlays)
    if set(states) == {"done"}:
        done = up_to_date("refine")
        return replace(done, lines=done.lines + pictures)
    line = f"refine     {len(samples)}/{len(samples)}  {', '.join(part.choice.name for part in parts)}"
    return Result("refine", [line, *pictures], {"images": len(samples)})


def _first_anew(context: Context, parts: Sequence[_Part]) -> int:
    """Return from which part --force redoes everything: the first that is not as asked, or else the very first."""
    changed = [number for number, part in enumerate(parts) if context.run.changes(part.stage)]
    return changed[0] if changed else 0


@dataclass(frozen=True)
class _Part:
    """One refiner of the recipe: its stage, whose folder it writes into, and its place in the chain."""

    context: Context
    index: Index
    stage: str
    choice: RefinerChoice
    number: int
    store_stride: int

    def run(self, samples: Sequence[Sample], splits: tuple[str, ...], force: bool) -> State:
        """Refine what is missing; return what was there before."""
        context, runtime = self.context, self.context.recipe.section("runtime")
        refiner = refiner_of(context, self.index.classes, self.number)
        state = begin(replace(context, force=force), self.stage, splits)
        if state == "done":
            return state
        reads = reads_of(context.recipe.recipe, self.stage)[1]
        source, folder = context.run.source(self.stage, reads), context.run.folder(self.stage)
        if reads == "cam":
            _check_resolutions(context, self.index, refiner, samples)
        check_extras(self.choice.name, refiner.required.inference, samples)
        if refiner.required.trains:
            self._train(refiner, source)
        device, workers, infer = "cpu", cpu_workers(runtime), self.choice.infer or InferSettings()
        if refiner.required.trains:
            gradients = refiner.required.gradients
            device, workers = device_and_workers(runtime, precision=infer.precision, gradients=gradients)
        model_file = folder / "train" / checkpoint.MODEL if refiner.required.trains else None
        arguments = (refiner, model_file, context.prepared, source, folder, infer, self.store_stride)
        given = (*arguments, label_rule(context), device)
        run_each(context, self.stage, samples, ScoreStore(folder).missing, _computer, given, workers)
        if processes.is_main():
            context.run.finish(self.stage, splits, images=len(ScoreStore(folder)))
        processes.barrier()
        return state

    @property
    def _training(self) -> str:
        """Address of the refiner's training in the recipe."""
        alone = len(self.context.recipe.recipe.refine_parts) == 1
        return "refine.train" if alone else f"refine.refiner.{self.number}.train"

    def _train(self, refiner: Refiner[Any, Any], source: Path) -> None:
        context, settings = self.context, self.choice.train
        if settings is None:
            raise RecipeError(f"refiner {self.choice.name!r} has to be trained: give {self._training}")
        samples = self.index.samples(*context.recipe.recipe.dataset.train)
        if context.skip_missing:
            lacking = set(ScoreStore(source).missing([sample.image_id for sample in samples]))
            samples = [sample for sample in samples if sample.image_id not in lacking]
        check_extras(self.choice.name, refiner.required.training, samples)
        runtime = context.recipe.section("runtime")
        backbone = classifier(context, self._training) if settings.weights == "train_cls" else None
        header = header_of(context, "refine", self.choice.name, refiner)
        job = TrainingJob(
            dir=context.run.folder(self.stage) / "train",
            samples=samples,
            classes=self.index.classes,
            settings=settings,
            seed=context.recipe.recipe.seed,
            cams=ScoreStore(source),
            fingerprint=context.run.fingerprint(self.stage),
            workers=processes.worker_count(runtime),
        )
        refiner.train(job, Loop(runtime, header=header, backbone=backbone, quiet=context.quiet))
        processes.barrier()


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


def _computer(
    refiner: Refiner[Any, Any],
    model_file: Path | None,
    prepared: Path,
    source: Path,
    folder: Path,
    infer: InferSettings,
    store_stride: int,
    rule: LabelRule,
    device: str,
) -> Work:
    """Return the function that refines the score map of one image."""
    index = look_up(prepared)
    coarse, store = ScoreStore(source), ScoreStore(folder)
    precision = infer.precision if model_file else "fp32"
    model = trained(refiner, model_file, device, fast=precision != "fp32") if model_file else None

    def compute(image_id: str) -> None:
        sample = index.entries[image_id].sample
        whole = read_image(sample.image, sample.orientation)
        image = shrunk(whole, infer.longest)
        labels, extras = rule.labels(index, image_id), extras_of(sample, refiner.required.inference)
        smaller = {name: shrunk(one, infer.longest) for name, one in extras.items()}
        with at_inference(refiner, precision, device):
            before = _seen_at(coarse[image_id], whole, image)
            scores = refiner.refine(model, image, labels, before, infer, **smaller)
        size = (int(whole.shape[0]), int(whole.shape[1]))
        store.write(replace(scores, image_id=image_id, size=size), store_stride, scores.size)

    return compute


def _seen_at(scores: ScoreMap, whole: ByteArray, image: ByteArray) -> ScoreMap:
    """Return the score map of a photo as one of the photo shrunk for inference; unchanged if it is not shrunk."""
    if image.shape == whole.shape or tuple(scores.size) != whole.shape[:2]:
        return scores
    size = (int(image.shape[0]), int(image.shape[1]))
    strided = None if scores.strided is None else resize_scores(scores.strided, strided_size(size, STRIDE))
    return replace(scores, size=size, strided=strided)
