"""eval: score maps, masks and the network against the truth; every number with its protocol."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.images import read_image
from ..data.index import Index, read_index
from ..data.stores import MaskStore, ScoreStore, checked_mask
from ..disk.writing import write_text
from ..engine import checkpoint, processes
from ..engine.each import Work, each, share
from ..errors import CheckFailed, DataError, StageError
from ..metrics import Confusion, ThresholdCurve, threshold_range
from ..ops.crf import dense_crf
from ..plugin.protocols import Segmenter
from ..recipe.sections import EvalSettings, ThresholdSettings
from ..types import Sample
from . import Context, Result, begin
from .per_image import device_and_workers, report_failures, run_each
from .plugins import segmenter_of, trained
from .protocol import protocol_of
from .score_table import score_lines

ARTEFACTS = ("cam", "refine", "pseudo", "seg")
"""What can be judged, in the order of the stages."""

_STAGE = {"cam": "cam", "refine": "refine", "pseudo": "pseudo", "seg": "train-seg"}


def run(
    context: Context,
    what: str | None = None,
    split: str | None = None,
    sweep: bool = False,
    min_miou: float | None = None,
) -> Result:
    """Write eval/WHAT-LIST.json for everything that is there, or for what `what` and `split` name.

    Raises:
        CheckFailed: a number lies below `min_miou`. StageError: what is asked for has not been made.
    """
    context.run.require("prepare")
    index = read_index(context.prepared)
    wanted = _wanted(context, what)
    begin(context, "eval")
    records: list[dict[str, Any]] = []
    for artefact in wanted:
        chosen: float | None = None
        for name in _lists(context, artefact, split):
            record = _judge(context, index, artefact, name, chosen)
            if record is None:
                continue
            if chosen is None and record.get("threshold"):
                chosen = record["threshold"]["value"]
            records.append(record)
            if processes.is_main():
                _write(context.run.folder("eval") / f"{artefact}-{name}.json", record)
    if processes.is_main():
        context.run.finish("eval", artefacts=[f"{r['artefact']}-{r['split']}" for r in records])
    processes.barrier()
    result = Result("eval", score_lines(records, context.recipe.recipe.reference, sweep), {"results": records})
    if min_miou is not None:
        _check(records, min_miou, result.lines)
    return result


def _wanted(context: Context, what: str | None) -> list[str]:
    if what is not None:
        if what not in ARTEFACTS:
            raise StageError(f"--what {what}: expected one of {', '.join(ARTEFACTS)}")
        context.run.require(_STAGE[what])
        return [what]
    there = [a for a in ARTEFACTS if _STAGE[a] in context.run.use or context.run.done(_STAGE[a]) is not None]
    if not there:
        raise StageError("nothing to judge yet; run `wsseg cam` first")
    for artefact in there:
        context.run.require(_STAGE[artefact])
    return there


def _lists(context: Context, artefact: str, split: str | None) -> list[str]:
    if split is not None:
        return [split]
    data = context.recipe.recipe.dataset
    lists = list(data.scored)
    if artefact == "seg" and data.val and data.val not in lists:
        lists.append(data.val)
    return lists


def _judge(context: Context, index: Index, artefact: str, split: str, chosen: float | None) -> dict[str, Any] | None:
    """Return the record of one artefact on one list; None where the list has no masks (predictions are still made)."""
    samples = index.samples(split)
    if artefact == "seg":
        folder = _predict(context, index, samples, split)
    else:
        folder = context.run.source("eval", _STAGE[artefact])
        store = ScoreStore(folder) if artefact in ("cam", "refine") else MaskStore(folder)
        missing = store.missing([sample.image_id for sample in samples])
        if missing:
            raise StageError(
                f"{len(missing)} of {len(samples)} images of list {split!r} are not in {folder}; "
                f"run `wsseg {_STAGE[artefact]} --split {split}` first"
            )
    with_mask = [sample for sample in samples if sample.mask is not None]
    if not with_mask:
        return None
    if len(with_mask) < len(samples):
        lacking = next(sample.image_id for sample in samples if sample.mask is None)
        raise DataError(
            f"list {split!r}: {len(samples) - len(with_mask)} of {len(samples)} images have no mask, "
            f"such as {lacking!r}"
        )
    sections = context.recipe.section("eval"), context.recipe.recipe.pseudo
    background = sections[1].background if sections[1] else None
    kind = "masks"
    if artefact in ("cam", "refine"):
        kind = "scores" if background is not None or _has_no_background(folder, with_mask) else "own background"
    counts = _count(context, index, with_mask, folder, kind, sections[0].thresholds)
    record: dict[str, Any] = {
        "schema_version": 1,
        "artefact": artefact,
        "split": split,
        "protocol": protocol_of(context, artefact, split, len(samples)),
    }
    if isinstance(counts, ThresholdCurve):
        points = counts.points()
        if chosen is None:
            best = counts.best()
            place = int(np.argmin([abs(p.threshold - best.threshold) for p in points]))
            said = f"chosen on {split} masks"
        else:
            place = int(np.argmin([abs(p.threshold - chosen) for p in points]))
            said = f"chosen on {context.recipe.recipe.dataset.scored[0]} masks"
        confusion = counts.confusions()[place]
        record["threshold"] = {"value": round(points[place].threshold, 6), "chosen": said}
        record["curve"] = [
            {
                "threshold": round(p.threshold, 6),
                "miou": _percent(p.mean_iou),
                "over": p.false_positives,
                "under": p.false_negatives,
            }
            for p in points
        ]
    else:
        confusion = counts
    return record | _figures(confusion, index)


def _figures(confusion: Confusion, index: Index) -> dict[str, Any]:
    iou = confusion.iou()
    nothing = confusion.matrix.sum(1)
    background_alone = nothing[0] / nothing.sum() / max(1, int((nothing > 0).sum())) if nothing.sum() else 0.0
    return {
        "miou": _percent(confusion.mean_iou()),
        "iou": {n: _percent(v) for n, v in zip(index.classes.with_background, iou.tolist(), strict=True)},
        "precision": {
            n: _percent(v) for n, v in zip(index.classes.with_background, confusion.precision().tolist(), strict=True)
        },
        "recall": {
            n: _percent(v) for n, v in zip(index.classes.with_background, confusion.recall().tolist(), strict=True)
        },
        "pixel_accuracy": _percent(confusion.accuracy()),
        "all_background_miou": _percent(float(background_alone)),
        "confusion": confusion.matrix.tolist(),
    }


def _percent(value: float) -> float | None:
    return None if value != value else round(100 * float(value), 3)


def _has_no_background(folder: Path, samples: Sequence[Sample]) -> bool:
    return ScoreStore(folder)[samples[0].image_id].background is None


def _count(
    context: Context, index: Index, samples: Sequence[Sample], folder: Path, kind: str, thresholds: ThresholdSettings
) -> Confusion | ThresholdCurve:
    """Return the counts over the whole list, added up exactly from the parts of all workers and processes."""
    _, workers = device_and_workers(context)
    ids = [sample.image_id for sample in samples]
    sizes = max(1, len(ids) // (8 * max(1, workers)))
    groups = [ids[i : i + sizes] for i in range(0, len(ids), sizes)]
    names = {f"{number}": group for number, group in enumerate(groups)}
    done = each(
        share(list(names)),
        _counter,
        (names, context.prepared, folder, kind, thresholds),
        workers=workers,
        label="eval",
        quiet=True,
    )
    report_failures(context.run.folder("eval"), "eval", processes.gather_objects(list(done.failures.items())), len(ids))
    parts = processes.gather_objects([done.results[name] for name in done.results])
    total = parts[0]
    for part in parts[1:]:
        total.merge(part)
    return total  # type: ignore[no-any-return]


def _counter(
    groups: dict[str, list[str]], prepared: Path, folder: Path, kind: str, thresholds: ThresholdSettings
) -> Work:
    """Return the function that counts a group of images."""
    index = read_index(prepared)

    def count(group: str) -> Confusion | ThresholdCurve:
        classes = index.classes
        range_ = threshold_range(thresholds.start, thresholds.stop, thresholds.step)
        total: Confusion | ThresholdCurve
        total = ThresholdCurve(range_, len(classes)) if kind == "scores" else Confusion(len(classes))
        for image_id in groups[group]:
            sample = index.entries[image_id].sample
            truth = checked_mask(sample.mask, classes, index.size(image_id))  # type: ignore[arg-type]
            if isinstance(total, ThresholdCurve):
                scores = ScoreStore(folder)[image_id]
                total.add(truth, scores.classes, scores.full(0.0)[1:], image_id=image_id)
            elif kind == "own background":
                scores = ScoreStore(folder)[image_id]
                values = np.concatenate([[0], scores.classes + 1]).astype(np.uint8)
                total.add(truth, values[scores.full().argmax(0)], image_id=image_id)
            else:
                total.add(truth, MaskStore(folder).read(image_id, classes, index.size(image_id)), image_id=image_id)
        return total

    return count


def _predict(context: Context, index: Index, samples: Sequence[Sample], split: str) -> Path:
    """Return the folder of the network's masks of a list, those missing predicted first."""
    segmenter = segmenter_of(context, index.classes)
    model_file = context.run.folder("train-seg") / checkpoint.MODEL
    folder = context.run.folder("eval") / f"seg-{split}"
    device, workers = device_and_workers(context)
    section = context.recipe.section("eval")
    arguments = (segmenter, model_file, context.prepared, folder, section, device)
    run_each(context, "eval", samples, MaskStore(folder).missing, _predictor, arguments, workers)
    processes.barrier()
    return folder


def _predictor(
    segmenter: Segmenter, model_file: Path, prepared: Path, folder: Path, section: EvalSettings, device: str
) -> Work:
    """Return the function that writes the network's mask of one image."""
    import torch

    index = read_index(prepared)
    masks = MaskStore(folder)
    model = trained(segmenter, model_file, device, fast=True)

    def predict(image_id: str) -> None:
        sample = index.entries[image_id].sample
        image = read_image(sample.image, sample.orientation)
        with torch.inference_mode():
            logits = segmenter.logits(model, image, section.infer)
        masks.write(image_id, mask_of(logits, image, section, device))

    return predict


def mask_of(logits: np.ndarray, image: np.ndarray, section: EvalSettings, device: str = "cpu") -> np.ndarray:
    """Return the (H, W) mask of a network's (1+C, H, W) class scores, after the dense CRF that `eval` asks for."""
    return class_scores(logits, image, section, device).argmax(axis=0).astype(np.uint8)


def class_scores(logits: np.ndarray, image: np.ndarray, section: EvalSettings, device: str = "cpu") -> np.ndarray:
    """Return the network's (1+C, H, W) class scores as they are, or the dense CRF's that `eval` asks for."""
    if section.crf is None:
        return logits
    scores = np.exp(logits - logits.max(axis=0, keepdims=True))
    scores /= scores.sum(axis=0, keepdims=True)
    return dense_crf(image, scores, section.crf, backend=section.crf.backend, device=device)


def _write(path: Path, record: dict[str, Any]) -> None:
    write_text(path, json.dumps(record, indent=1, ensure_ascii=False))


def _check(records: Sequence[dict[str, Any]], bound: float, lines: Sequence[str]) -> None:
    if not records:
        raise CheckFailed(f"--min-miou {bound}: no list has masks, so nothing was judged")
    last = records[-1]["artefact"]
    for record in records:
        if record["artefact"] == last and (record["miou"] is None or record["miou"] < bound):
            text = "\n".join(lines)
            raise CheckFailed(f"{text}\n{last} on {record['split']}: mIoU {record['miou']} is below {bound}")
