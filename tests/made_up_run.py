"""A small run made by hand: files as the stages leave them, without any training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from wsseg_cli.data.index import Entry, Index, write_index
from wsseg_cli.data.stores import MaskStore, ScoreStore, write_mask
from wsseg_cli.types import ClassNames, Sample, ScoreMap

RECIPE = """\
name: made_up
seed: 0
reference: {cam: {val: 40.0}}
dataset: {name: toy, options: {}, train: [train], val: val, score: [train, val]}
train_cls: {method: {name: cam, options: {backbone: small}}}
"""


def write_run(folder: Path, names: tuple[str, ...] = ("cat", "dog"), shift: int = 0, truth: bool = True) -> Path:
    """Write a run with four images, maps, pseudo-masks, numbers and losses; return its folder."""
    photos = folder.parent / "photos"
    classes = ClassNames(names)
    rng = np.random.default_rng(0)
    entries = []
    for number in range(4):
        image_id = f"made/up{number}"
        photo, mask = photos / f"{number}.png", photos / f"{number}_mask.png"
        photo.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (24, 32, 3), np.uint8)).save(photo)
        values = np.zeros((24, 32), np.uint8)
        values[4:20, 4 : 10 + 4 * number] = 1 + number % 2
        write_mask(mask, values)
        sample = Sample(image_id, photo, (number % 2,), mask if truth else None)
        entries.append(Entry(sample, ("val" if number else "train",), (24, 32)))
        guess = np.roll(values, number + shift, axis=1)
        MaskStore(folder / "pseudo").write(image_id, guess)
        scores = (guess > 0).astype(np.float32)[None] * 0.8
        ScoreStore(folder / "cam").write(ScoreMap(image_id, np.array([number % 2]), scores, (24, 32)), stride=2)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    content = write_index(folder / "prepare", Index(entries, classes), {})
    versions = {"wsseg": "0.1.0", "torch": "2.15.0"}
    (folder / "prepare" / "done.json").write_text(
        json.dumps({"index": content, "seconds": 1.5, "counts": {"train": 1, "val": 3}, "versions": versions})
    )
    counts = {"images": 3, "images per class": dict.fromkeys(names, 2)}
    report = {"dataset": "made up", "classes": list(names), "lists": {"val": counts}, "warnings": ["look & see"]}
    report["often together"] = [{"class": names[0], "with": names[1], "share": 0.9, "images": 10}]
    report["sizes"] = {"smallest": [24, 32], "largest": [24, 32]}
    (folder / "prepare" / "report.json").write_text(json.dumps(report))
    (folder / "train-cls").mkdir()
    rows = [json.dumps({"step": step, "cls": 1 / step, "lr": 0.1, "grad_norm": 2.0}) for step in range(1, 1000)]
    (folder / "train-cls" / "metrics.jsonl").write_text("\n".join([*rows, '{"step": 10']))
    (folder / "train-cls" / "stage.json").write_text(json.dumps({"versions": versions}))
    if truth:
        (folder / "eval").mkdir()
        for artefact in ("cam", "pseudo"):
            (folder / "eval" / f"{artefact}-val.json").write_text(json.dumps(record(artefact, names)))
    return folder


def record(artefact: str, names: tuple[str, ...]) -> dict[str, object]:
    """Return a record as `eval` writes it."""
    all_names = ["background", *names]
    figures: dict[str, object] = {
        "artefact": artefact,
        "split": "val",
        "protocol": {"images": 3, "labels": "given", "infer": {"scales": [1.0], "flip": True}, "supervision": "I"},
        "miou": 41.5,
        "iou": {name: 40.0 + place for place, name in enumerate(all_names)},
        "all_background_miou": 10.0,
        "confusion": [[90, 5, 5], [20, 70, 10], [0, 0, 0]],
    }
    if artefact == "cam":
        figures["threshold"] = {"value": 0.4, "chosen": "chosen on val masks"}
        figures["curve"] = [{"threshold": t / 10, "miou": 40 - t, "over": 0.5, "under": t / 20} for t in range(11)]
    return figures
