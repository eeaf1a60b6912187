"""The card of a trained network, model.md next to model.safetensors: data, classes, protocol, numbers, licences.

It is made from the contents of the run, without dates and paths, so that equal runs have equal cards.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..data.index import extra_indexes, read_index
from ..data.model_header import checked_header
from ..data.tensor_files import Refusal, read_header
from ..disk.records import read_record
from ..disk.writing import write_text
from ..errors import CheckpointError, StageError, WssegError
from ..recipe.evaluating import EvalSettings
from ..run.directory import RunDir
from ..run.evaluation import Evaluation
from ..types import Json
from .hand_masks import masks_said

CARD = "model.md"
_MODEL = "model.safetensors"
_MADE_BY = {"train-cls": "cam", "refine/train": "refine", "train-seg": "seg"}
"""The folders that hold a network, and the artefacts of `eval` that it made."""
_WORDS = {"methods": "method", "refiners": "refiner", "segmenters": "segmentation network"}
_log = logging.getLogger(__name__)


def write_cards(run: RunDir) -> None:
    """Write model.md next to every network of a run; a card that cannot be made spoils nothing else."""
    for place in _MADE_BY:
        model = run.path / place / _MODEL
        if model.is_file():
            try:
                write_text(model.with_name(CARD), card_of_run(run, place))
            except WssegError as error:
                _log.info("no card of %s: %s", model, error)


def card_of_run(run: RunDir, place: str = "train-seg") -> str:
    """Return the card of the network in folder `place` of a run, as Markdown.

    Raises:
        WssegError: the model file or a record of the run is missing or damaged.
    """
    header = header_of_file(run.path / place / _MODEL)
    artefacts = [_MADE_BY[place]]
    if place == "train-cls" and run.recipe.recipe.train_seg is None:
        artefacts.append("seg")  # from a method that is a segmentation network itself
    records = list(evaluations(run, artefacts))
    masks = place == "train-seg" or any(record.artefact == "seg" for record in records)
    return "\n".join(
        [
            *_network(header),
            *_data(run, header),
            *_looks(header, run.recipe.recipe.eval if masks else None),
            *_numbers(records),
            *_licences(header),
        ]
    )


def card_of_file(path: Path) -> str:
    """Return the card of a model file alone: what its header says.

    Raises:
        CheckpointError: it is not a model file.
    """
    header = header_of_file(path)
    return "\n".join([*_network(header), *_classes(header), *_licences(header)])


def header_of_file(path: Path) -> Json:
    """Return the header of a model file.

    Raises:
        CheckpointError: the file is missing or damaged.
    """
    try:
        found = read_header(path, Refusal("fetch it again, or train it again", CheckpointError))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file") from None
    return checked_header(found.values, path)


def evaluations(run: RunDir, artefacts: Iterable[str]) -> Iterator[Evaluation]:
    """Yield the evaluations of some artefacts, by artefact and split.

    Raises:
        StageError: a record is damaged.
    """
    for artefact in artefacts:
        for path in sorted((run.path / "eval").glob(f"{artefact}-*.json")):
            remedy = f"delete it and run `wsseg eval --what {artefact}`"
            record = read_record(path, Evaluation, remedy, StageError)
            if record is not None:
                yield record


def _network(header: Json) -> list[str]:
    kind, name = str(header.get("kind", "")), header.get("name", "unknown")
    options = header.get("options") or {}
    backbone = f" on {options['backbone']}" if options.get("backbone") else ""
    facts = [
        ("plugin", f"{name} ({_WORDS.get(kind, kind)})"),
        ("options", f"`{json.dumps(options, ensure_ascii=False)}`"),
        ("steps", header.get("steps")),
        ("trained on", masks_said(header)),
        ("recipe", header.get("recipe")),
        ("wsseg", header.get("wsseg")),
    ]
    rows = [f"| {key} | {value} |" for key, value in facts if value]
    title = f"# {header.get('recipe', name)}: {name}{backbone}"
    made = "Made by wsseg, weakly-supervised semantic segmentation from image-level labels."
    return [title, "", made, "", "| | |", "|---|---|", *rows, ""]


def _data(run: RunDir, header: Json) -> list[str]:
    dataset = run.recipe.recipe.dataset
    counts = ", ".join(f"{name} ({size} images)" for name, size in _split_sizes(run).items())
    lines = ["## Data", "", f"Data set `{dataset.name}`: {counts}. Trained on {', '.join(dataset.train)}.", ""]
    return lines + _classes(header)


def _split_sizes(run: RunDir) -> dict[str, int]:
    """Return the images of each split, as `prepare` counted them: the index of all of them may be large."""
    sizes = dict((run.done("prepare") or {}).get("counts", {}))
    for added in map(read_index, extra_indexes(run.folder("prepare"))):
        sizes |= {name: len(added.samples(name)) for name in added.splits()}
    return sizes


def _classes(header: Json) -> list[str]:
    names = [str(name) for name in header.get("classes", ())]
    listed = ", ".join(f"{value} {name}" for value, name in enumerate(("background", *names)))
    return ["## Classes", "", f"Mask values: {listed}; 255 is ignored.", ""]


def _looks(header: Json, section: EvalSettings | None) -> list[str]:
    pixels = header.get("normalization") or {}
    lines = ["## Protocol", ""]
    if pixels:
        lines.append(
            f"Pixels in {pixels.get('order', 'RGB')}, divided by {pixels.get('scale', 255):g}, "
            f"minus {_list(pixels.get('mean'))}, divided by {_list(pixels.get('std'))}."
        )
    if section is not None:
        flip = ", each also flipped" if section.infer.flip else ""
        crf = "none" if section.crf is None else json.dumps(section.crf.model_dump(mode="json", exclude_none=True))
        lines.append(f"Views at scales {_list(section.infer.scales)}{flip}; dense CRF: {crf}.")
    return [*lines, ""]


def _numbers(records: Sequence[Evaluation]) -> list[str]:
    if not records:
        return ["## Numbers", "", "Not evaluated.", ""]
    lines = ["## Numbers", "", "IoU in per cent, from one confusion matrix over the whole split.", ""]
    heads = [f"{record.artefact} on {record.split}" for record in records]
    lines += [f"| | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    lines.append(_row("**mean**", [record.miou for record in records]))
    names = dict.fromkeys(name for record in records for name in record.iou)
    lines += [_row(name, [record.iou.get(name) for record in records]) for name in names]
    lines.append("")
    for head, record in zip(heads, records, strict=True):
        said = "; ".join(f"{key}: {_plain(value)}" for key, value in record.protocol.items() if value not in (None, ""))
        at = f"; threshold {record.threshold.said}" if record.threshold else ""
        lines.append(f"- {head}: {said}{at}")
    return [*lines, ""]


def _row(name: str, values: Sequence[float | None]) -> str:
    return f"| {name} | {' | '.join('–' if value is None else f'{value:.1f}' for value in values)} |"


def _licences(header: Json) -> list[str]:
    start = str(header.get("weights", "unknown"))
    said = f"Initial weights: {start}."
    if start != "none" and "licence:" not in start:
        said += " wsseg does not know their licence; ask whoever publishes them."
    own = "wsseg gives this network no licence: that is up to whoever trained it, and to the rights to the photos."
    return ["## Licences", "", said, own, ""]


def _list(values: Any) -> str:
    return ", ".join(f"{value:g}" for value in values or ())


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
