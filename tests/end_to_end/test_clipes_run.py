"""CLIP-ES from photos to a network with a CLIP of random weights: the real commands, killed, resumed, shared by two."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_clip
import yaml
from PIL import Image
from wsseg_datasets.toy import Toy

from end_to_end.toy_run import RECIPE, contents, wsseg
from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.engine import checkpoint
from wsseg_cli.types import IGNORE


def write_recipe(folder: Path) -> Path:
    """Write the tiny recipe with CLIP-ES in the place of the classifier, and weights beside it."""
    folder.mkdir(exist_ok=True)
    recipe: dict[str, Any] = yaml.safe_load(RECIPE)
    classes = list(Toy(Toy.Options(), folder).classes())
    recipe["train_cls"] = {
        "method": {"name": "clipes", "options": tiny_clip.options(classes)},
        "weights": str(tiny_clip.write(folder / "clip.safetensors")),
    }
    recipe["cam"] = {"store_stride": 16}
    recipe["pseudo"] = {
        "background": {"power": 1},
        "precision": "fp16",
        "crf": {"preset": "deeplab", "image": "published"},
        "ignore": {"below": 0.95, "only_training": True},
    }
    recipe["train_seg"] |= {"weights": "none", "max_steps": 4}
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return path


def mask(path: Path) -> np.ndarray:
    with Image.open(path) as picture:
        return np.asarray(picture)


@pytest.mark.slow
def test_from_photos_to_a_network(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path / "whole")
    run = recipe.parent / "runs" / "tiny"
    done = wsseg(recipe, "run")
    assert "clipes learns nothing; weights: 400 million image-text pairs" in done.stdout, done.stdout
    protocol = json.loads((run / "eval" / "pseudo-train.json").read_text())["protocol"]
    for words in ("400 million image-text pairs (OpenAI, not public) (clip.safetensors)", "licence: MIT (OpenAI)"):
        assert words in protocol["initial weights"]
    assert protocol["precision"] == "fp16" and protocol["background"] == {"power": 1.0}
    model = run / "train-cls" / checkpoint.MODEL
    frozen = checkpoint.read_header(model)["frozen"]
    digest = hashlib.sha256((recipe.parent / "clip.safetensors").read_bytes()).hexdigest()
    assert frozen["sha256"] == digest and model.stat().st_size < 8000
    maps = ScoreStore(run / "cam")
    assert all(scores.scores.shape[1:] == (6, 5) or scores.scores.shape[1:] == (5, 6) for scores in maps.values())
    for path in sorted((run / "pseudo").glob("*.png")):
        whole, learnt = mask(path), mask(run / "pseudo" / "confident" / path.name)
        assert whole.max() < IGNORE and np.array_equal(whole[learnt != IGNORE], learnt[learnt != IGNORE])
    assert any((mask(path) == IGNORE).any() for path in (run / "pseudo" / "confident").glob("*.png"))

    # some images of two stages are gone, as after a kill: the same command makes them anew, bit for bit
    want = {stage: contents(run / stage, files) for stage, files in (("cam", "*.safetensors"), ("pseudo", "*.png"))}
    for stage in want:
        (run / stage / "done.json").unlink()
    for path in [*sorted((run / "cam").glob("*.safetensors"))[:3], *sorted((run / "pseudo").glob("*.png"))[:5]]:
        path.unlink()
    (run / "cam" / ".scene.safetensors.999999.tmp").write_bytes(b"half")
    wsseg(recipe, "run", "--to", "pseudo")
    assert {stage: contents(run / stage, "*.*g" if stage == "pseudo" else "*.safetensors") for stage in want} == want

    # two processes share the images
    two = tmp_path / "two"
    two.mkdir()
    for stage in ("prepare", "train-cls"):
        shutil.copytree(run / stage, two / stage)
    for stage in ("cam", "pseudo"):
        wsseg(recipe, stage, "--run-dir", str(two), processes=2)
        files = "*.png" if stage == "pseudo" else "*.safetensors"
        assert contents(two / stage, files) == want[stage]
    confident = contents(run / "pseudo" / "confident", "*.png")
    assert confident and contents(two / "pseudo" / "confident", "*.png") == confident

    # hostile: other weights under the same name, a model file of another list of classes
    tiny_clip.write(recipe.parent / "clip.safetensors", seed=1)
    assert "whose content has since changed" in wsseg(recipe, "cam", "--force", code=6).stderr
    gone = wsseg(recipe, "run", "--run", "other", "--set", "train_cls.weights=nowhere.safetensors", code=6)
    assert (
        "train_cls.weights: nowhere.safetensors: no such file" in gone.stderr and "nothing was started" in gone.stderr
    )
