"""Counts of masks and score maps against the ground truth of a split, exact over all workers and processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, overload

from ..data.lookup import look_up
from ..data.stores import MaskStore, ScoreStore, checked_mask
from ..engine import processes
from ..engine.each import Work, each, share
from ..metrics import Confusion, ThresholdCurve, threshold_range
from ..metrics.bootstrap import FEW, Spread, spread_of_best
from ..metrics.confusion import PredictedIgnore
from ..ops.masks import mask_from_map
from ..ops.resize import strips
from ..recipe.evaluating import EvalSettings
from ..types import ByteArray, Sample
from . import Context
from .per_image import cpu_workers, report_failures

Kind = Literal["masks", "scores", "own background"]
"""The contents of a folder: masks, score maps scored at every threshold, score maps with a background score."""

_GROUPS_A_WORKER = 8
_COUNTS_AS: dict[str, PredictedIgnore] = {"wrong": "miss", "left_out": "drop"}


def count(
    context: Context, samples: Sequence[Sample], folder: Path, kind: Kind, stage: str = "eval"
) -> Confusion | ThresholdCurve:
    """Return the counts over all samples: a curve for "scores", else one confusion matrix.

    stage: the calling stage, whose folder gets failures.jsonl.

    Raises:
        DataError: images failed; their reasons are in failures.jsonl.
    """
    total, *parts = _parts(context, samples, folder, kind, stage)
    for part in parts:
        total.merge(part)
    return total


def curve_and_spread(
    context: Context, samples: Sequence[Sample], folder: Path, stage: str = "eval"
) -> tuple[ThresholdCurve, Spread | None]:
    """Return the curve of the score maps of all samples and, where these are few, how far its best depends on them.

    Raises:
        DataError: as `count`.
    """
    few = len(samples) <= FEW
    parts = _parts(context, samples, folder, "scores", stage, one_by_one=few)
    spread = spread_of_best(parts) if few else None
    total, *others = parts
    for part in others:
        total.merge(part)
    return total, spread


@overload
def _parts(
    context: Context,
    samples: Sequence[Sample],
    folder: Path,
    kind: Literal["scores"],
    stage: str,
    *,
    one_by_one: bool = False,
) -> list[ThresholdCurve]: ...
@overload
def _parts(
    context: Context, samples: Sequence[Sample], folder: Path, kind: Kind, stage: str, *, one_by_one: bool = False
) -> list[Any]: ...
def _parts(
    context: Context, samples: Sequence[Sample], folder: Path, kind: Kind, stage: str, *, one_by_one: bool = False
) -> list[Any]:
    """Return the counts of groups of samples; in the order of the samples where each is a group of its own."""
    workers = cpu_workers(context.recipe.section("runtime"))
    ids = [sample.image_id for sample in samples]
    size = 1 if one_by_one else max(1, len(ids) // (_GROUPS_A_WORKER * max(1, workers.number)))
    groups = {str(number): ids[at : at + size] for number, at in enumerate(range(0, len(ids), size))}
    done = each(
        share(list(groups)),
        _counter,
        (groups, context.prepared, folder, kind, context.recipe.section("eval")),
        workers=workers,
        label=stage,
        quiet=True,
    )
    report_failures(context.run.folder(stage), stage, processes.gather_objects(list(done.failures.items())), len(ids))
    parts = dict(processes.gather_objects(list(done.results.items())))
    return [parts[name] for name in groups]


def _counter(groups: dict[str, list[str]], prepared: Path, folder: Path, kind: Kind, section: EvalSettings) -> Work:
    """Return the function that counts a group of images."""
    thresholds = threshold_range(section.thresholds.start, section.thresholds.stop, section.thresholds.step)
    index = look_up(prepared)
    classes = index.classes

    def curve_of(group: str) -> ThresholdCurve:
        total = ThresholdCurve(thresholds, len(classes))
        for image_id in groups[group]:
            scores, truth = ScoreStore(folder)[image_id], truth_of(image_id)
            fits = tuple(scores.size) == truth.shape  # else the single call reports what does not fit
            for rows in strips(scores.size) if fits else [slice(None)]:
                total.add(truth[rows], scores.classes, scores.full(0.0, rows=rows)[1:], image_id=image_id)
        return total

    def confusion_of(group: str) -> Confusion:
        total = Confusion(len(classes), _COUNTS_AS[section.ignored])
        for image_id in groups[group]:
            if kind == "masks":
                mask = MaskStore(folder).read(image_id, classes, index.size(image_id))
            else:
                mask = mask_from_map(ScoreStore(folder)[image_id])
            total.add(truth_of(image_id), mask, image_id=image_id)
        return total

    def truth_of(image_id: str) -> ByteArray:
        return checked_mask(index.entries[image_id].sample.mask, classes, index.size(image_id))  # type: ignore[arg-type]

    return curve_of if kind == "scores" else confusion_of
