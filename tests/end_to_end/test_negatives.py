"""One class and "nothing": photos without a label teach a classifier where the class is."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from wsseg_cli.main import app

RECIPE = """
name: r
dataset:
  name: folder
  options: {root: photos, labels: labels.csv, masks: masks, classes: [crack], lists: {train: all.txt}}
  train: train
train_cls:
  method: {name: cam, options: {backbone: small, dropout: 0.0, lr_multipliers: [1, 1, 1, 1]}}
  weights: none
  augment: {flip: 0.5, crop: 80}
  batch_size: 8
  max_steps: 120
  optim: {name: adamw, lr: 2.0e-3}
cam: {}
runtime: {workers: 0}
"""


def make(root: Path) -> None:
    """Write 64 photos with two blue things on each, half of them with a red one, the crack."""
    rng = np.random.default_rng(0)
    (root / "masks").mkdir(parents=True)
    rows = ["image,labels"]
    for number in range(64):
        image = rng.integers(90, 140, 3) + rng.normal(0, 18, (96, 96, 3))
        mask = np.zeros((96, 96), np.uint8)
        for _ in range(2):
            y, x = rng.integers(0, 70, 2)
            image[y : y + 20, x : x + 26] = np.array([60, 110, 190]) + rng.normal(0, 12, (20, 26, 3))
        if number % 2:
            (y, x), (h, w) = rng.integers(8, 60, 2), rng.integers(18, 28, 2)
            image[y : y + h, x : x + w] = np.array([200, 70, 50]) + rng.normal(0, 12, (h, w, 3))
            mask[y : y + h, x : x + w] = 1
        Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(root / f"{number:02d}.jpg", quality=92)
        Image.fromarray(mask).save(root / "masks" / f"{number:02d}.png")
        rows.append(f"{number:02d}.jpg,{'crack' if number % 2 else ''}")
    (root / "labels.csv").write_text("\n".join(rows) + "\n")
    (root / "all.txt").write_text("".join(f"{number:02d}\n" for number in range(64)))


def wsseg(*words: str) -> str:
    done = CliRunner().invoke(app, [*words, "--recipe", "r.yaml", "--quiet"], prog_name="wsseg")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.mark.slow
def test_a_class_is_found_where_photos_without_it_are_negatives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "photos")
    Path("r.yaml").write_text(RECIPE)
    iou, said = {}, {}
    for rule in ("keep", "drop"):
        said[rule] = wsseg("run", "--run", f"runs/{rule}", "--set", f"train_cls.unlabelled={rule}")
        iou[rule] = json.loads(Path(f"runs/{rule}/eval/cam-train.json").read_text())["iou"]["crack"]
    assert "on 64 images, 32 of them negatives" in said["keep"] and "on 32 images" in said["drop"]
    assert "32 images show none of the classes" in said["keep"]
    assert iou["keep"] > 25 > 10 > (iou["drop"] or 0)
