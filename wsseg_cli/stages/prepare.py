"""prepare: open every file of the data set once, list everything wrong, write the index and the data report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..data.images import look_at_photo, mask_values, read_saliency
from ..data.index import WORK, Entry, Index, extra_index, write_index
from ..data.stores import check_size, labels_in_mask
from ..disk.writing import write_text
from ..engine import processes
from ..engine.each import Work, Workers, each
from ..errors import DataError, RecipeError, WssegError
from ..plugin.protocols import Dataset
from ..settings import NO_SPLIT, SPLIT
from ..types import IGNORE, ClassNames, Json, Sample
from . import Context, Result, begin, up_to_date
from .collect import check_extras, collect
from .data_report import data_report, report_lines
from .hand_masks import hand_masks
from .large_photos import size_warning
from .looks import Looked, conversions, seen_in_masks
from .prepared import prepared, refuse_changes, write_record

_ALWAYS = ("left out", "labels that disagree with masks")
"""Facts that are in the report even if they are 0."""


def run(context: Context, skip_bad: bool = False, split: str | None = None) -> Result:
    """Write prepare/index.jsonl, classes.json and report.json; `split` adds a split that the recipe does not name.

    Raises:
        DataError: files are missing or broken (all are named), unless `skip_bad`.
    """
    section = context.recipe.section("prepare")
    folder = context.prepared
    if split is not None and split not in section.splits:
        return _add_split(context, split, skip_bad)
    if begin(context, "prepare") == "done":
        refuse_changes(context)
        return up_to_date("prepare")
    error: WssegError | None = None
    result = None
    if processes.is_main():
        try:
            data, roots = _open(context)
            index, facts, samples = _index(context, data, section.splits, skip_bad)
            if not context.recipe.unset("train-seg"):
                hand_masks(context.recipe, index)
            digest = write_index(folder, index, roots)
            hashes = write_record(folder, data, samples, index, section.splits, roots)
            report = data_report(index, section, facts | data.facts())
            sizes = [entry.size for entry in index.entries.values()]
            report["warnings"] += size_warning(context.recipe.recipe, sizes)
            text = json.dumps(report, indent=1, ensure_ascii=False)
            write_text(folder / "report.json", text)
            counts = {name: len(index.samples(name)) for name in index.splits()}
            context.run.finish("prepare", splits=section.splits, index=digest, counts=counts, **hashes)
            result = Result("prepare", report_lines(report), report)
        except WssegError as caught:
            error = caught
    answer: Result = processes.agree(error or result)
    return answer


def _open(context: Context) -> tuple[Dataset[Any], dict[str, Path]]:
    cls, options = context.recipe.plugin("prepare")
    work = context.prepared / "data"
    data = cls(options, work)
    roots = {WORK: work.absolute()}
    for name, value in options.model_dump().items():
        if isinstance(value, str | Path) and str(value) and Path(value).is_dir():
            roots[name] = Path(value).absolute()
    return data, roots | {f"extras.{name}": folder.absolute() for name, folder in data.extra_folders().items()}


def _index(
    context: Context, data: Dataset[Any], splits: Sequence[str], skip_bad: bool, taken: Mapping[str, Path] | None = None
) -> tuple[Index, Json, list[Sample]]:
    """Return the index, what was seen, and all samples that the data set gave, including the bad ones."""
    bad: dict[str, str] = {}
    data.bad = bad
    classes = data.classes()
    found = collect(data, splits, taken)
    asked = context.recipe.extras()
    everywhere = frozenset[str]().union(*(one.inference for one in asked.values()))
    train = context.recipe.recipe.dataset.train
    samples = extras_for_training(found.samples, found.member_of, train, everywhere)
    learnt = [sample for i, sample in samples.items() if set(train) & set(found.member_of[i])]
    for name, one in asked.items():
        check_extras(name, one.training, learnt)
        check_extras(name, one.inference, list(samples.values()))
    runtime = context.recipe.section("runtime")
    done = each(
        list(samples),
        _checker,
        (samples, classes),
        workers=Workers(processes.worker_count(runtime), threads=True),
        label="prepare",
        quiet=context.quiet,
    )
    # an entry that the data set left out may still have given an image, such as one whose mask alone is broken
    total = len(samples) + len(bad.keys() - samples.keys())
    bad |= {image_id: done.failures[image_id] for image_id in samples if image_id in done.failures}
    _write_bad(context.prepared / "bad.jsonl", bad)
    if bad and not skip_bad:
        shown = "\n  ".join([*list(bad.values())[:20], *([f"… and {len(bad) - 20} more"] if len(bad) > 20 else [])])
        raise DataError(
            f"{len(bad)} of {total} entries cannot be used (all in {context.prepared / 'bad.jsonl'})\n  {shown}\n"
            "  mend them, or leave them out with `wsseg prepare --skip-bad`"
        )
    looked: dict[str, Looked] = {image_id: done.results[image_id] for image_id in samples if image_id in done.results}
    if not looked:
        raise DataError("no image can be used; see the list above")
    entries = [Entry(samples[i], tuple(found.member_of[i]), look.size) for i, look in looked.items()]
    facts = {
        "left out": len(bad),
        "photos told apart by their split, SPLIT/ID": found.told_apart,
        **seen_in_masks(samples, looked, classes),
        **conversions(looked.values()),
    }
    seen = {name: value for name, value in facts.items() if value or name in _ALWAYS}
    return Index(entries, classes), seen, list(samples.values())


def extras_for_training(
    samples: dict[str, Sample],
    member_of: dict[str, list[str]],
    train: Iterable[str],
    everywhere: frozenset[str] = frozenset(),
) -> dict[str, Sample]:
    """Return the samples; those in no train split lose the extras whose file is missing.

    Most extras are read only in training, and released saliency maps often cover only the train split. everywhere:
    extras that are read at inference too, and therefore kept.
    """
    learnt = set(train)

    def kept(sample: Sample) -> Sample:
        if not sample.extras or learnt.intersection(member_of[sample.image_id]):
            return sample
        return replace(sample, extras={n: p for n, p in sample.extras.items() if n in everywhere or p.is_file()})

    return {image_id: kept(sample) for image_id, sample in samples.items()}


def _write_bad(path: Path, bad: dict[str, str]) -> None:
    if bad:
        text = "".join(json.dumps({"id": i, "reason": r}, ensure_ascii=False) + "\n" for i, r in bad.items())
        write_text(path, text)


def _checker(samples: dict[str, Sample], classes: ClassNames) -> Work:
    """Return the function that opens all files of one image and returns what it saw."""

    def check(image_id: str) -> Looked:
        sample = samples[image_id]
        size, converted = look_at_photo(sample.image, sample.orientation)
        for label in sample.labels:
            if not 0 <= label < len(classes):
                raise DataError(f"{image_id!r}: label {label} is out of range for {len(classes)} classes")
        in_mask, ignored = None, False
        if sample.mask is not None:
            in_mask = labels_in_mask(sample.mask, classes, size)
            ignored = IGNORE in mask_values(sample.mask)[1]
        for name, path in sample.extras.items():
            if not path.is_file():
                raise DataError(f"{image_id!r}: {path} is missing")
            check_size(path, f"{name} map", read_saliency(path).shape, size)
        return Looked(size, in_mask, ignored, converted)

    return check


def _add_split(context: Context, split: str, skip_bad: bool) -> Result:
    """Index a split in addition to the recipe's; this makes nothing stale that is done."""
    if not re.fullmatch(SPLIT, split):
        raise RecipeError(f"--split {split!r:.120} {NO_SPLIT}")
    before = prepared(context)
    answer: Any = None
    if processes.is_main():
        try:
            data, roots = _open(context)
            others = [entry for entry in before.entries.values() if split not in entry.splits]
            taken = {entry.sample.image_id: entry.sample.image for entry in others}
            index, _, samples = _index(context, data, [split], skip_bad, taken)
            folder = extra_index(context.prepared, split)
            write_index(folder, index, roots)
            write_record(folder, data, samples, index, [split], roots)
            count = len(index.entries)
            answer = Result("prepare", [f"prepare    {split}: {count} images"], {"lists": {split: count}})
        except WssegError as error:
            answer = error
    result: Result = processes.agree(answer)
    return result
