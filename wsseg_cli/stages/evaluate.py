"""eval: score maps, masks and the network against the ground truth; every figure with its protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..data.index import Index
from ..data.stores import MaskStore, ScoreStore
from ..engine import processes
from ..errors import StageError
from ..metrics import Confusion, ThresholdCurve
from ..metrics.bootstrap import Spread
from ..plugin.protocols import Predictor
from ..recipe.loading import LoadedRecipe
from ..run.evaluation import Evaluation, Threshold, ThresholdFigures
from ..types import Json, Sample
from . import Context, Result, begin
from .bars import ARTEFACTS, below
from .counting import Kind, count, curve_and_spread
from .network_masks import predict_split
from .per_image import with_file
from .plugins import network_stage, predictor_of
from .prepared import prepared
from .protocol import protocol_of
from .score_table import score_lines

_STAGE = {"cam": "cam", "refine": "refine", "pseudo": "pseudo"}
"""The stage that writes the files of each; the masks of a network, "seg", are made here."""


def run(
    context: Context,
    what: str | None = None,
    split: str | None = None,
    sweep: bool = False,
    min_miou: Mapping[str, float] | None = None,
) -> Result:
    """Write eval/WHAT-SPLIT.json for everything that exists, or for what `what` and `split` name.

    min_miou: bars as `parse_bars` gives them; figures below them are the result's `failure`.

    Raises:
        StageError: what is asked for has not been made.
    """
    index = prepared(context, split)
    wanted = _wanted(context, index, what)
    begin(context, "eval")
    records: list[Evaluation] = []
    without: dict[str, int] = {}
    for artefact in wanted:
        chosen: float | None = None
        for name in _splits(context, artefact, split):
            record = _evaluate(context, index, artefact, name, chosen)
            if record is None:
                without[name] = len(index.samples(name))
                continue
            if chosen is None and record.threshold:
                chosen = record.threshold.value
            records.append(record)
            if processes.is_main():
                record.write(context.run.folder("eval"))
    if processes.is_main():
        context.run.finish("eval", artefacts=[f"{r.artefact}-{r.split}" for r in records])
    processes.barrier()
    lines = score_lines(records, context.recipe.recipe.reference, sweep, without)
    failure = "" if min_miou is None else below(records, min_miou)
    data = {"results": [record.as_dict() for record in records], "without_masks": without}
    return Result("eval", lines, data, failure=failure)


def _wanted(context: Context, index: Index, what: str | None) -> list[str]:
    if what is not None:
        if what not in ARTEFACTS:
            raise StageError(f"--what {what}: expected one of {', '.join(ARTEFACTS)}")
        if what == "seg":
            predictor_of(context, index.classes)
        context.run.require(_stage_of(context, what))
        return [what]
    stages = {a: _stage_of(context, a) for a in ARTEFACTS if a != "seg" or _evaluates_network(context.recipe)}
    there = [a for a, s in stages.items() if s in context.run.use or context.run.done(s) is not None]
    if not there:
        raise StageError("nothing to evaluate yet; run `wsseg cam` first")
    for artefact in there:
        context.run.require(stages[artefact])
    return there


def _stage_of(context: Context, artefact: str) -> str:
    return network_stage(context.recipe.recipe) if artefact == "seg" else _STAGE[artefact]


def _evaluates_network(recipe: LoadedRecipe) -> bool:
    """Return whether a network's masks are evaluated by default: train-seg's, or a method's that `eval` describes."""
    if network_stage(recipe.recipe) == "train-seg":
        return True
    described = recipe.recipe.eval.model_fields_set & {"infer", "crf"}
    return bool(described) and issubclass(recipe.plugin("train-cls")[0], Predictor)


def _splits(context: Context, artefact: str, split: str | None) -> list[str]:
    if split is not None:
        return [split]
    data = context.recipe.recipe.dataset
    splits = list(data.scored)
    if artefact == "seg" and data.val and data.val not in splits:
        splits.append(data.val)
    return splits


def _evaluate(context: Context, index: Index, artefact: str, split: str, chosen: float | None) -> Evaluation | None:
    """Return the figures of one artefact on one split; None for a split without masks (predictions are still made)."""
    samples = index.samples(split)
    if artefact == "seg":
        folder = predict_split(context, index, samples, split)
    else:
        folder, samples = _folder_with_all(context, artefact, samples, split)
    with_mask = [sample for sample in samples if sample.mask is not None]
    if not with_mask:
        return None
    kind = _kind(context, artefact, folder, with_mask[0])
    protocol = protocol_of(context, artefact, split, len(with_mask))
    if len(with_mask) < len(samples):
        protocol["images without a mask"] = len(samples) - len(with_mask)
    if kind == "scores":
        curve, spread = curve_and_spread(context, with_mask, folder)
        return _at_threshold(context, artefact, split, protocol, curve, spread, chosen, index)
    counts = count(context, with_mask, folder, kind)
    assert isinstance(counts, Confusion)
    if counts.ignored:
        share = round(100 * counts.ignored / counts.seen, 3)
        protocol["ignored"] = {"share": share, "counted": context.recipe.section("eval").ignored}
    return _record(artefact, split, protocol, counts, index)


def _at_threshold(
    context: Context,
    artefact: str,
    split: str,
    protocol: Json,
    curve: ThresholdCurve,
    spread: Spread | None,
    chosen: float | None,
    index: Index,
) -> Evaluation:
    """Return the figures of score maps at their best threshold, or at the one that was chosen on another split."""
    where = split if chosen is None else context.recipe.recipe.dataset.scored[0]
    wanted = curve.best().threshold if chosen is None else chosen
    place = int(np.argmin(np.abs(curve.thresholds - wanted)))
    record = _record(artefact, split, protocol, curve.confusions()[place], index)
    record.threshold = Threshold(value=round(float(curve.thresholds[place]), 6), chosen=f"chosen on {where} masks")
    if chosen is None and spread is not None:
        record.threshold.interval, record.threshold.miou_interval = spread.threshold, spread.mean_iou
    record.curve = _curve(curve)
    return record


def _folder_with_all(
    context: Context, artefact: str, samples: Sequence[Sample], split: str
) -> tuple[Path, list[Sample]]:
    """Return the folder of an artefact's score maps or masks, and the samples that have a file in it.

    Raises:
        StageError: images of the split are missing in it. DataError: they are missing in a folder that --use gave.
    """
    stage = _STAGE[artefact]
    folder = context.run.source("eval", stage)
    store = ScoreStore(folder) if artefact in ("cam", "refine") else MaskStore(folder)
    there = with_file(context, stage, samples, store)
    if len(there) < len(samples) and not context.skip_missing:
        raise StageError(
            f"{len(samples) - len(there)} of {len(samples)} images of split {split!r} are not in {folder}; "
            f"run `wsseg {stage} --split {split}` first"
        )
    return folder, there


def _kind(context: Context, artefact: str, folder: Path, first: Sample) -> Kind:
    if artefact not in ("cam", "refine"):
        return "masks"
    pseudo = context.recipe.recipe.pseudo
    asked = pseudo is not None and pseudo.background is not None
    return "scores" if asked or ScoreStore(folder)[first.image_id].background is None else "own background"


def _record(artefact: str, split: str, protocol: Json, confusion: Confusion, index: Index) -> Evaluation:
    names = index.classes.with_background

    def by_class(values: np.ndarray) -> dict[str, float | None]:
        return {name: _percent(value) for name, value in zip(names, values.tolist(), strict=True)}

    return Evaluation(
        artefact=artefact,
        split=split,
        protocol=protocol,
        miou=_percent(confusion.mean_iou()),
        iou=by_class(confusion.iou()),
        precision=by_class(confusion.precision()),
        recall=by_class(confusion.recall()),
        pixel_accuracy=_percent(confusion.accuracy()),
        all_background_miou=_percent(_all_background(confusion)),
        confusion=confusion.matrix.tolist(),
    )


def _all_background(confusion: Confusion) -> float:
    """Return the mIoU in [0, 1] of masks that are background everywhere."""
    truth = confusion.truth
    return float(truth[0] / truth.sum() / max(1, int((truth > 0).sum()))) if truth.sum() else 0.0


def _curve(counts: ThresholdCurve) -> list[ThresholdFigures]:
    return [
        ThresholdFigures(
            threshold=round(point.threshold, 6),
            miou=_percent(point.mean_iou),
            over=point.false_positives,
            under=point.false_negatives,
        )
        for point in counts.points()
    ]


def _percent(value: float) -> float | None:
    return None if value != value else round(100 * float(value), 3)
