"""What the result of a stage depends on: its values in the recipe, what it reads, and how two such records differ."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ..recipe.problems import show
from ..recipe.sections import SECTION, Recipe
from ..settings import Settings
from ..types import Json

LATER: Json = {
    "schedule.warmup_start": 0.1,
    "schedule.final": 0.0,
    "optim.grad_clip": None,
    "augment.opencv": "emulated",
    "infer.tile": None,
    "infer.overlap": 128,
    "infer.precision": "fp32",
    "cam.fold_norms": False,
    "background.low": None,
    "background.high": None,
    "pseudo.refiner": None,
    "pseudo.precision": "fp32",
    "pseudo.ignore": None,
    "pseudo.store_confidence": False,
    "train_seg.repeat_corrected": 1,
    "eval.ignored": "wrong",
}
"""Ends of addresses added after the first records: at these values they are left out, so older records hold."""

HAND_MASKS = "hand masks"
"""What train-seg reads of the folder `train_seg.corrected`; no stage makes it."""


def reads_of(recipe: Recipe, stage: str) -> tuple[str, ...]:
    """Return the stages whose results a stage reads, by rule; of `eval`, those it can read."""
    scores = "refine" if recipe.refine else "cam"
    if stage == "prepare":
        return ()
    if stage == "train-seg":
        section = recipe.train_seg
        pseudo = ("pseudo",) if section is None or section.masks != "ground_truth" else ()
        return ("prepare", *pseudo, *(("train-cls",) if section and section.weights == "train_cls" else ()))
    if stage in recipe.refine_parts:
        number = recipe.refine_parts.index(stage)
        return ("prepare", recipe.refine_parts[number - 1] if number else "cam")
    before = {
        "train-cls": (),
        "cam": ("train-cls",),
        "pseudo": (scores,),
        "eval": ("cam", "refine", "pseudo", "train-seg"),
    }
    return ("prepare", *before[stage])


def asks(recipe: Recipe, stage: str) -> Json:
    """Return the values of the recipe that the result of a stage depends on, by address; `${…}` not filled in."""
    refines = stage in recipe.refine_parts
    key = "refine" if refines else SECTION[stage]
    section = getattr(recipe, key)
    if refines and recipe.refine and isinstance(recipe.refine.refiner, tuple):
        number = recipe.refine_parts.index(stage)
        one = _numbers(recipe.refine.chain[number]) | {"store_stride": recipe.refine.store_stride}
        values = {f"refine.refiner.{number}.{name}": value for name, value in _flat(one)}
    else:
        values = {f"{key}.{name}": value for name, value in _flat(_numbers(section))} if section is not None else {}
    if refines or stage in ("train-cls", "train-seg"):
        values["seed"] = recipe.seed
        values["dataset.train"] = list(recipe.dataset.train)
    if refines or stage == "cam":
        values["dataset.train"] = list(recipe.dataset.train)
        values["dataset.score"] = list(recipe.dataset.scored)
    if refines and recipe.cam:
        values |= {f"cam.labels.{name}": value for name, value in recipe.cam.labels.model_dump().items()}
    if stage == "eval":
        values["dataset.score"] = list(recipe.dataset.scored)
        values["dataset.val"] = recipe.dataset.val
    return {address: value for address, value in values.items() if not _as_before(address, value)}


def _as_before(address: str, value: Any) -> bool:
    return any(address.endswith(key) and value == before for key, before in LATER.items())


def _numbers(section: Settings) -> Json:
    """Return a section without keys that change no number, such as when checkpoints are written or what runs CRFs."""
    data = section.model_dump(mode="json")
    data.pop("corrected", None)  # the hand masks count by their content, wherever they lie
    for holder in (data, data.get("train")):
        if isinstance(holder, dict):
            holder.pop("save_every", None)
    if isinstance(data.get("crf"), dict):
        data["crf"].pop("backend", None)
    for holder in (data.get("infer"), data.get("crf")):
        if isinstance(holder, dict) and holder.get("longest", 0) is None:
            del holder["longest"]  # as in `LATER`
    return data


def _flat(data: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict) and value:
            yield from _flat(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def differences(stage: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    """Yield what differs between two records of a stage, upstream first."""
    old_reads, new_reads = old.get("reads", {}), new.get("reads", {})
    for source in dict.fromkeys([*old_reads, *new_reads]):
        before, after = old_reads.get(source), new_reads.get(source)
        if before == after:
            continue
        if before is None or after is None:
            yield f"{stage} {'now' if before is None else 'no longer'} reads {source}"
        elif source == HAND_MASKS:
            yield "the hand masks have changed"
        elif "index" in before and "index" in after:
            said = next(name for name in ("index", "photos", "masks") if before.get(name) != after.get(name))
            yield f"the {said} of prepare {'has' if said == 'index' else 'have'} changed"
        elif "folder" in before or "folder" in after:
            words = [
                f"the folder of --use {source}" if "folder" in x else f"the run's {source}" for x in (before, after)
            ]
            yield f"{words[0]} has changed" if words[0] == words[1] else f"{stage} read {words[0]}, now {words[1]}"
        else:
            yield from differences(source, before, after)
    old_asks, new_asks = old.get("asks", {}), new.get("asks", {})
    for key in dict.fromkeys([*old_asks, *new_asks]):
        if old_asks.get(key) != new_asks.get(key):
            yield f"{key}: {_said(old_asks, key)} → {_said(new_asks, key)}"


def as_recorded(node: Json, recorded: Mapping[str, Any]) -> Json:
    """Return what is asked for, without the content of pictures if a record is older than that entry."""
    reads: Json = {}
    for source, entry in node["reads"].items():
        before = recorded.get("reads", {}).get(source, {})
        if source == "prepare":
            reads[source] = {name: value for name, value in entry.items() if name == "index" or name in before}
        else:
            reads[source] = as_recorded(entry, before) if "reads" in entry else entry
    return {**node, "reads": reads}


def _said(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "(not there)")
    return value if isinstance(value, str) else show(value)


def content_hash(folder: Path, pattern: str = "*") -> str:
    """Return the hash of the names and contents of the files in a folder, except for our own records and pictures."""
    total = hashlib.sha256()
    for file in sorted(p for p in folder.rglob(pattern) if p.is_file()):
        name = file.relative_to(folder).as_posix()
        if name.startswith("overlays/") or name in ("stage.json", "done.json", "failures.jsonl", "model.md"):
            continue
        with file.open("rb") as stream:
            # names and contents are hashed separately, so that no content can pass for another name
            inner = hashlib.sha256()
            while block := stream.read(1 << 20):
                inner.update(block)
        total.update(hashlib.sha256(name.encode()).digest() + inner.digest())
    return total.hexdigest()


def digest(node: Mapping[str, Any]) -> str:
    """Return the hash of a record of plain values."""
    return hashlib.sha256(json.dumps(node, sort_keys=True, ensure_ascii=False).encode()).hexdigest()[:32]
