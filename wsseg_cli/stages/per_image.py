"""What the per-image stages share: their splits, whose labels are given, the loop, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.index import Index
from ..data.stores import MaskStore, ScoreStore
from ..disk.writing import remove, sweep, write_text
from ..engine import processes
from ..engine.arithmetic import allow_tf32, refusal
from ..engine.each import Work, Workers, each, share
from ..errors import DataError, RecipeError
from ..settings import Precision, RuntimeSettings
from ..types import Sample
from . import Context

_IN_FLIGHT = 4
"""Images at once on a GPU, unless `runtime.workers` says otherwise: this keeps it busy and fits its memory."""


def splits_of(context: Context, split: str | None) -> tuple[str, ...]:
    """Return the splits of a per-image stage: train and score, or the one that --split names."""
    data = context.recipe.recipe.dataset
    return (split,) if split else tuple(dict.fromkeys((*data.train, *data.scored)))


@dataclass(frozen=True)
class LabelRule:
    """Whether an image's labels are given, by the role of its splits: train (which covers score) or val."""

    train_splits: frozenset[str]
    train: str
    val: str

    def labels(self, index: Index, image_id: str) -> tuple[int, ...] | None:
        """Return the image's labels, or None if they are to be predicted or were not given."""
        known = self.train_splits & set(index.entries[image_id].splits)
        source = self.train if known else self.val
        sample = index.entries[image_id].sample
        return sample.labels if source == "given" and sample.labelled else None

    def source(self, split: str) -> str:
        """Return "given" or "predicted" for the images of a split."""
        return self.train if split in self.train_splits else self.val


def label_rule(context: Context) -> LabelRule:
    """Return the recipe's rule, `cam.labels`."""
    data = context.recipe.recipe.dataset
    cam = context.recipe.recipe.cam
    train = cam.labels.train if cam else "given"
    val = cam.labels.val if cam else "predicted"
    return LabelRule(frozenset((*data.train, *data.scored)), train, val)


def device_and_workers(
    runtime: RuntimeSettings, *, precision: Precision = "fp32", gradients: bool = False
) -> tuple[str, Workers]:
    """Return the device of networks, and the workers that feed them.

    On a CPU these are worker processes, each with its own network; on another device, threads of this process, which
    share one. gradients: images are differentiated one after the other, since the network holds the state for it.

    Raises:
        RecipeError: the device does not compute in this precision.
    """
    device = str(processes.start(runtime.device))
    if said := refusal(device.partition(":")[0], precision):
        raise RecipeError(f"infer.precision: {said}")
    allow_tf32(runtime.tf32)
    if device == "cpu":
        return device, Workers(processes.worker_count(runtime))
    asked = runtime.workers or min(_IN_FLIGHT, processes.worker_count(runtime))
    return device, Workers(1 if gradients else asked, threads=True)


def cpu_workers(runtime: RuntimeSettings) -> Workers:
    """Return the workers for work without a network: processes on all cores, whatever the device is."""
    processes.start(runtime.device)
    return Workers(processes.worker_count(runtime))


def run_each(
    context: Context,
    stage: str,
    samples: Sequence[Sample],
    missing: Callable[[Sequence[str]], list[str]],
    setup: Callable[..., Work],
    arguments: tuple[Any, ...],
    workers: Workers,
) -> None:
    """Do the missing images of this process, then let all processes agree that nothing failed.

    Raises:
        DataError: some images failed; their reasons are in failures.jsonl, the others are kept.
    """
    ids = [sample.image_id for sample in samples]
    mine = share(ids)
    todo = processes_share(missing(ids))
    try:
        done = each(
            todo,
            setup,
            arguments,
            workers=workers,
            label=stage,
            quiet=context.quiet,
            total=len(mine) if len(todo) < len(mine) else len(todo),
        )
    except BaseException:
        sweep(context.run.folder(stage))  # workers are killed in whatever they write
        raise
    failures = processes.gather_objects(list(done.failures.items()))
    report_failures(context.run.folder(stage), stage, failures, len(ids))


def with_file(context: Context, reads: str, samples: Sequence[Sample], store: ScoreStore | MaskStore) -> list[Sample]:
    """Return the samples that have a file in what the stage reads; `--skip-missing` skips the others and says so.

    reads: the stage that made the files, or the folder of --use in its place. If the run itself lacks files, the caller
    refuses: it knows the command that makes them.

    Raises:
        DataError: a folder that --use gave lacks files, or has none of them.
    """
    lacking = set(store.missing([sample.image_id for sample in samples]))
    there = [sample for sample in samples if sample.image_id not in lacking]
    if not lacking:
        return there
    first = next(sample.image_id for sample in samples if sample.image_id in lacking)
    said = f"{len(lacking)} of {len(samples)} images have no file in {store.folder}"
    if context.skip_missing and there:
        context.notes.append(f"{said}, such as {first!r}: left out")
    elif context.skip_missing or reads in context.run.use:
        raise DataError(f"{said}, such as {first!r}; put them there, or leave these images out with `--skip-missing`")
    return there


def processes_share(missing: Sequence[str]) -> list[str]:
    """Return this process' share of the missing images, as the main process listed them."""
    return share(processes.agree(list(missing)))


def report_failures(folder: Path, stage: str, failures: Sequence[tuple[str, str]], count: int) -> None:
    """Write failures.jsonl and raise, if any image failed.

    Raises:
        DataError: with the count and the first reasons.
    """
    path = folder / "failures.jsonl"
    if not failures:
        if processes.is_main():
            remove(path)
        return
    if processes.is_main():
        text = "".join(json.dumps({"id": i, "reason": r}, ensure_ascii=False) + "\n" for i, r in failures)
        write_text(path, text)
    shown = "\n  ".join(f"{image_id}: {reason}" for image_id, reason in failures[:5])
    more = f"\n  … and {len(failures) - 5} more" if len(failures) > 5 else ""
    raise DataError(
        f"{stage}: {len(failures)} of {count} images failed; the others are done "
        f"(all reasons in {path})\n  {shown}{more}"
    )
