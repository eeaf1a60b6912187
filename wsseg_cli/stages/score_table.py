"""The table that `eval` prints: artefacts by splits, the all-background score, published numbers next to ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from ..run.evaluation import Evaluation


def score_lines(
    records: Sequence[Evaluation],
    reference: Mapping[str, Any] | None,
    sweep: bool = False,
    without_masks: Mapping[str, int] = MappingProxyType({}),
) -> list[str]:
    """Return the lines of the table; with `sweep` the threshold curves follow.

    without_masks: the number of images of each split of which none has a mask.
    """
    nothing = [f"           {split}: none of its {count} images has a mask" for split, count in without_masks.items()]
    if not records:
        return ["eval       no split has masks: predictions written, nothing scored", *nothing]
    splits = list(dict.fromkeys(record.split for record in records))
    width = max(8, *(len(name) + 2 for name in splits))
    background = {record.split: record.all_background_miou for record in records}
    head = "eval       mIoU    " + "".join(f"{name:>{width}}" for name in splits)
    lines = [head + "   all background " + " / ".join(f"{background[name]:.1f}" for name in splits)]
    for artefact in dict.fromkeys(record.artefact for record in records):
        rows = {record.split: record for record in records if record.artefact == artefact}
        cells = "".join(f"{_number(rows[name].miou) if name in rows else '-':>{width}}" for name in splits)
        first = next(iter(rows.values()))
        notes = []
        if first.threshold:
            notes.append(f"threshold {first.threshold.said}")
        notes += _note(first.protocol, artefact)
        lines.append(f"           {artefact:<8}{cells}   {'; '.join(notes)}".rstrip())
    lines += nothing + _without_mask(records) + _spread(records) + _ignored(records)
    lines += _means(records)
    lines += _compared(records, reference)
    if sweep:
        for record in records:
            if record.curve:
                lines.append(f"           {record.artefact} on {record.split}: threshold, mIoU")
                lines += [f"           {p.threshold:8.2f} {_number(p.miou):>8}" for p in record.curve]
    return lines


def _without_mask(records: Sequence[Evaluation]) -> list[str]:
    lacking = {record.split: (record.protocol.get("images without a mask", 0), record.protocol) for record in records}
    return [
        f"           {split}: figures over the {protocol['images']} of {protocol['images'] + count} images with a mask"
        for split, (count, protocol) in lacking.items()
        if count
    ]


def _spread(records: Sequence[Evaluation]) -> list[str]:
    """Say how far figures depend on the few images that their threshold was chosen on."""
    return [
        f"           {record.artefact} on {record.split}: mIoU {100 * low:.1f} to {100 * high:.1f} "
        f"at the best threshold of sets drawn from these {record.protocol['images']} images (95 % bootstrap)"
        for record in records
        if record.threshold and record.threshold.miou_interval
        for low, high in [record.threshold.miou_interval]
    ]


def _ignored(records: Sequence[Evaluation]) -> list[str]:
    words = {"wrong": "count as wrong", "left_out": "are left out"}
    return [
        f"           {record.artefact} on {record.split}: {said['share']:.1f} % of the pixels are 255 and "
        f"{words[said['counted']]} (eval.ignored)"
        for record in records
        if (said := record.protocol.get("ignored"))
    ]


def _means(records: Sequence[Evaluation]) -> list[str]:
    """Return lines on how many classes the means are over: those in neither masks nor predictions are left out."""
    absent = {tuple(name for name, value in record.iou.items() if value is None) for record in records}
    total = len(records[0].iou)
    if absent == {()}:
        return [f"           means over {total} classes, background among them"]
    lines = []
    for record in records:
        without = [name for name, value in record.iou.items() if value is None]
        names = ", ".join(without[:8]) + (f" and {len(without) - 8} more" if len(without) > 8 else "")
        said = f"; neither masks nor predictions show {names}" if without else ""
        lines.append(
            f"           {record.artefact} on {record.split}: mean over {total - len(without)} of {total} classes{said}"
        )
    return lines


def _note(protocol: Mapping[str, Any], artefact: str) -> list[str]:
    notes = []
    if "folder" in protocol:
        notes.append(f"of {protocol['folder']}")
    if protocol.get("labels") == "predicted":
        notes.append("labels predicted")
    if protocol.get("crf"):
        notes.append(f"CRF {protocol['crf']['preset']}")
    if artefact == "refine":
        notes.append(protocol.get("refiner", ""))
    if protocol.get("supervision") == "fully supervised":
        notes.append("fully supervised")
    if "masks" in protocol:
        notes.append(str(protocol["masks"]))
    return notes


def _compared(records: Sequence[Evaluation], reference: Mapping[str, Any] | None) -> list[str]:
    lines = []
    for record in records:
        published = (reference or {}).get(record.artefact)
        theirs = published.get(record.split) if isinstance(published, Mapping) else None
        if isinstance(theirs, int | float) and record.miou is not None:
            difference = record.miou - theirs
            lines.append(
                f"           {record.artefact} on {record.split}: "
                f"ours {record.miou:.1f}, published {theirs:.1f}, difference {difference:+.1f}"
            )
    return lines


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
