"""Counts of masks and score maps against the ground truth of a split, exact over all workers and processes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from ..data.index import read_index
from ..data.stores import MaskStore, ScoreStore, checked_mask
from ..engine import processes
from ..engine.each import Work, each, share
from ..metrics import Confusion, ThresholdCurve, threshold_range
from ..ops.masks import mask_from_map
from ..ops.resize import strips
from ..recipe.evaluating import ThresholdSettings
from ..types import ByteArray, Sample
from . import Context
from .per_image import cpu_workers, report_failures

Kind = Literal["masks", "scores", "own background"]
"""What a folder holds: masks, score maps scored at every threshold, score maps with a background score."""

_GROUPS_A_WORKER = 8


def count(
    context: Context,
    samples: Sequence[Sample],
    folder: Path,
    kind: Kind,
    thresholds: ThresholdSettings,
    stage: str = "eval",
) -> Confusion | ThresholdCurve:
    """Return the counts over all samples: a curve for "scores", else one confusion matrix.

    stage: the one that asks, whose folder gets failures.jsonl.

    Raises:
        DataError: images failed; their reasons are in failures.jsonl.
    """
    workers = cpu_workers(context.recipe.section("runtime"))
    ids = [sample.image_id for sample in samples]
    size = max(1, len(ids) // (_GROUPS_A_WORKER * max(1, workers.number)))
    groups = {str(number): ids[at : at + size] for number, at in enumerate(range(0, len(ids), size))}
    done = each(
        share(list(groups)),
        _counter,
        (groups, context.prepared, folder, kind, thresholds),
        workers=workers,
        label=stage,
        quiet=True,
    )
    report_failures(context.run.folder(stage), stage, processes.gather_objects(list(done.failures.items())), len(ids))
    parts = processes.gather_objects([done.results[name] for name in done.results])
    total: Confusion | ThresholdCurve = parts[0]
    for part in parts[1:]:
        total.merge(part)
    return total


def _counter(
    groups: dict[str, list[str]], prepared: Path, folder: Path, kind: Kind, thresholds: ThresholdSettings
) -> Work:
    """Return the function that counts a group of images."""
    index = read_index(prepared)
    classes = index.classes

    def curve_of(group: str) -> ThresholdCurve:
        total = ThresholdCurve(threshold_range(thresholds.start, thresholds.stop, thresholds.step), len(classes))
        for image_id in groups[group]:
            scores, truth = ScoreStore(folder)[image_id], truth_of(image_id)
            fits = tuple(scores.size) == truth.shape  # else one call says what does not
            for rows in strips(scores.size) if fits else [slice(None)]:
                total.add(truth[rows], scores.classes, scores.full(0.0, rows=rows)[1:], image_id=image_id)
        return total

    def confusion_of(group: str) -> Confusion:
        total = Confusion(len(classes))
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
