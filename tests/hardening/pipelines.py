"""The pipelines that are interrupted: the quickstarts of the house, made so small that a run takes about a second."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

_RECIPES = Path(__file__).resolve().parents[2] / "recipes"
PIPELINES = ("cam", "psa", "irn", "sccam", "rsepm", "onestage", "ppc")
_OF_CAM = "quickstart"
_METHODS: dict[str, dict[str, Any]] = {
    "sccam": {"subcategories": 2, "extractor_steps": 2, "earlier_steps": [2]},
    "rsepm": {"recursion_epoch": 1, "mix_epoch": 1, "decoder_width": 8, "pamr_dilations": [1, 2]},
    "onestage": {"channels": 8, "warmup_epochs": 1, "pamr_dilations": [1, 2]},
    "ppc": {"view_size": 48, "grid": 4},
}
_CROP = 64
_TRAIN = {"batch_size": 2, "max_steps": 4, "save_every": 1}


def write_pipeline(folder: Path, name: str, *, images: int = 4, workers: int = 0) -> Path:
    """Write the recipe of a pipeline into `folder`, its run beside it; return its path."""
    recipe = yaml.safe_load((_RECIPES / f"{_OF_CAM if name == 'cam' else f'{_OF_CAM}_{name}'}.yaml").read_text())
    recipe["name"] = "tiny"
    recipe["dataset"]["options"] = {"train": images, "val": 2, "size": [64, 64], "workers": workers or 1}
    recipe["runtime"] = {"workers": workers, "device": "cpu", "log_every": 1}
    recipe["cam"] = {"infer": {"scales": [1.0], "flip": True}}
    recipe["pseudo"]["crf"] = {"preset": "psa", "iterations": 1}
    recipe.pop("eval", None)
    options = recipe["train_cls"]["method"].setdefault("options", {})
    options |= {"backbone": "small", "backbone_options": {"width": 8}} | _METHODS.get(name, {})
    for section in (recipe["train_cls"], recipe.get("refine", {}).get("train"), recipe.get("train_seg")):
        if section is not None:
            section |= _TRAIN
            section["augment"] = {"flip": 0.5, "crop": _CROP}
            section.pop("schedule", None)
            section.pop("epochs", None)
    if "refine" in recipe:
        inner = recipe["refine"]["refiner"]["options"]
        inner |= {"backbone_options": {"width": 8}, "crf": {"preset": inner["crf"]["preset"], "iterations": 1}}
    if "train_seg" in recipe:
        recipe["train_seg"]["segmenter"]["options"] |= {"backbone_options": {"width": 8}}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path
