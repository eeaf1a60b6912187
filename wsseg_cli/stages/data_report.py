"""The data report: what a data set holds and what in it may cause harm, for people and programs."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Mapping
from typing import Any

from ..data.index import Index
from ..recipe.sections import DatasetSettings
from ..types import Json
from .class_warnings import EVERYWHERE, name_warnings

OFTEN = 0.8
"""Share of a class's images that also show another class, from which CAMs are likely to confuse the two."""


def data_report(index: Index, section: DatasetSettings, facts: Mapping[str, Any]) -> Json:
    """Return counts of every split, images per class, co-occurrence, sizes, warnings, and the data set's own facts."""
    classes = index.classes
    splits = {}
    for name in index.splits():
        samples = index.samples(name)
        per_class = Counter(label for sample in samples for label in sample.labels)
        splits[name] = {
            "images": len(samples),
            "labels per image": round(sum(per_class.values()) / len(samples), 3),
            "without label": sum(sample.labelled and not sample.labels for sample in samples),
            "labels unknown": sum(not sample.labelled for sample in samples),
            "with mask": sum(sample.mask is not None for sample in samples),
            "images per class": {classes[label]: per_class.get(label, 0) for label in range(len(classes))},
        }
    trained = index.samples(*section.train)
    sizes = [entry.size for entry in index.entries.values()]
    pairs = _often_together(trained, classes)
    overlap = _overlap(index, section)
    report = {
        "dataset": section.name,
        "classes": list(classes),
        "lists": splits,
        "often together": pairs,
        "sizes": {
            "smallest": [min(h for h, _ in sizes), min(w for _, w in sizes)],
            "largest": [max(h for h, _ in sizes), max(w for _, w in sizes)],
        },
        "turned by EXIF": sum(e.sample.orientation != 1 for e in index.entries.values()),
        "in train and val": len(overlap),
        **facts,
    }
    report["warnings"] = _warnings(report, section)
    return report


def _often_together(samples: list[Any], classes: Any) -> list[Json]:
    single = Counter(label for sample in samples for label in sample.labels)
    both = Counter((a, b) for sample in samples for a in sample.labels for b in sample.labels if a != b)
    rows = [
        {"class": classes[a], "with": classes[b], "share": round(count / single[a], 3), "images": single[a]}
        for (a, b), count in both.items()
        if count / single[a] >= OFTEN and single[a] > 1
    ]
    return sorted(rows, key=lambda row: (-row["share"], row["class"], row["with"]))


def _overlap(index: Index, section: DatasetSettings) -> list[str]:
    if section.val is None or section.val in section.train:
        return []
    trained = {sample.image_id for sample in index.samples(*section.train)}
    validated = {sample.image_id for sample in index.samples(section.val)}
    # splits that contain each other, such as train and train_aug, do so on purpose
    return [] if trained <= validated or validated <= trained else sorted(trained & validated)


def _warnings(report: Mapping[str, Any], section: DatasetSettings) -> list[str]:
    lines = name_warnings(report["classes"])
    for name, counts in report["lists"].items():
        if name in section.train:
            empty = [c for c, n in counts["images per class"].items() if n == 0]
            if empty:
                lines.append(f"{name}: no image of {', '.join(empty)}: these classes cannot be learnt")
            lines += _everywhere(name, counts)
        if counts["without label"]:
            use = "negatives in training, unless `train_cls.unlabelled: drop`"
            use = use if name in section.train else "all background where labels are given"
            lines.append(f"{name}: {counts['without label']} images show none of the classes: {use}")
        if counts["labels unknown"]:
            lines.append(f"{name}: {counts['labels unknown']} images without known labels, left out of training")
    for row in report["often together"][:5]:
        lines.append(f"{row['class']} appears with {row['with']} in {row['share']:.0%}: CAMs will confuse them")
    if report["in train and val"]:
        lines.append(f"{report['in train and val']} images stand in both the training and the validation split")
    if report.get("left out"):
        lines.append(f"{report['left out']} images left out as unusable: see bad.jsonl")
    if report.get("labels that disagree with masks"):
        lines.append(f"{report['labels that disagree with masks']} images whose labels disagree with their masks")
    for name, count in report.get("in no mask", {}).items():
        lines.append(
            f"{name} is a label of {count} images with masks, and no mask shows it: its IoU will be 0. Do the values "
            "follow the order of the classes? `wsseg convert masks --form rgb --colours FILE` renumbers them"
        )
    return lines


def _everywhere(name: str, counts: Mapping[str, Any]) -> list[str]:
    return [
        f"{name}: {label} is on {count} of {counts['images']} images: a classifier that always says so is right; add "
        "images without it"
        for label, count in counts["images per class"].items()
        if count >= EVERYWHERE * counts["images"]
    ]


def report_lines(report: Mapping[str, Any]) -> list[str]:
    """Return the report as the lines that `prepare` prints."""
    counts = ", ".join(f"{row['images']} {name}" for name, row in report["lists"].items())
    first = next(iter(report["lists"].values()))
    lines = [
        f"prepare    {report['dataset']}: {counts}, {len(report['classes'])} classes, "
        f"{first['labels per image']:.1f} labels per image"
    ]
    small, large = ("x".join(str(n) for n in reversed(report["sizes"][key])) for key in ("smallest", "largest"))
    lines.append(f"           sizes: {small if small == large else f'{small} to {large}'}")
    for name, row in report["lists"].items():
        most_first = sorted(row["images per class"].items(), key=lambda item: -item[1])
        lines += _wrapped(f"images in {name}: ", [f"{label} {count}" for label, count in most_first])
    if any(row["with mask"] for row in report["lists"].values()):
        counted = ", ".join(f"{row['with mask']} of {row['images']} {name}" for name, row in report["lists"].items())
        lines.append(f"           masks: {counted}")
    known = {"dataset", "classes", "lists", "often together", "sizes", "turned by EXIF", "in train and val", "warnings"}
    facts = {
        k: v
        for k, v in report.items()
        if k not in known | {"left out", "labels that disagree with masks", "in no mask"}
    }
    lines += [f"           {name}: {value}" for name, value in facts.items()]
    if report["turned by EXIF"]:
        lines.append(f"           {report['turned by EXIF']} images turned as their EXIF orientation says")
    return lines + [f"           warning: {text}" for text in report["warnings"]]


def _wrapped(head: str, items: list[str]) -> list[str]:
    """Return the lines of text whose items are not broken across lines."""
    text = head + ", ".join(item.replace(" ", "\xa0") for item in items)
    lines = textwrap.wrap(text, 118, initial_indent=" " * 11, subsequent_indent=" " * 13, break_on_hyphens=False)
    return [line.replace("\xa0", " ") for line in lines]
