"""Extras, such as saliency maps, that are there for the train split alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from wsseg_cli.data.index import read_index
from wsseg_cli.data.loader import extras_of
from wsseg_cli.data.transforms import classification_transform
from wsseg_cli.main import app
from wsseg_cli.settings import AugmentSettings
from wsseg_cli.stages.prepare import extras_for_training
from wsseg_cli.types import Sample


def test_only_what_is_trained_on_needs_its_extras(tmp_path: Path) -> None:
    there, gone = tmp_path / "there.png", tmp_path / "gone.png"
    there.touch()
    samples = {
        "learnt": Sample("learnt", Path("a.jpg"), (0,), extras={"saliency": gone}),
        "evaluated": Sample("evaluated", Path("b.jpg"), (0,), extras={"saliency": gone, "depth": there}),
        "plain": Sample("plain", Path("c.jpg"), (0,)),
    }
    kept = extras_for_training(samples, {"learnt": ["val", "train"], "evaluated": ["val"], "plain": ["val"]}, ["train"])
    assert kept["learnt"] is samples["learnt"]  # its map is missing: prepare will say so
    assert dict(kept["evaluated"].extras) == {"depth": there}
    assert kept["plain"] is samples["plain"]


def test_what_is_read_at_inference_is_kept_everywhere(tmp_path: Path) -> None:
    gone = tmp_path / "gone.png"
    samples = {"evaluated": Sample("evaluated", Path("b.jpg"), (0,), extras={"saliency": gone, "depth": gone})}
    kept = extras_for_training(samples, {"evaluated": ["val"]}, ["train"], frozenset({"depth"}))
    assert dict(kept["evaluated"].extras) == {"depth": gone}


RECIPE = """\
name: own
dataset:
  name: folder
  options: {root: photos, extras: {depth: depth}}
  train: train
train_cls:
  method: {name: METHOD, options: {backbone: small}}
  weights: none
  batch_size: 2
  max_steps: 1
  optim: {name: sgd, lr: 0.01}
runtime: {workers: 0, device: cpu}
"""


def photos(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for kind in ("cat", "dog"):
        for number in range(4):
            for place in (folder / "photos" / kind, folder / "photos" / "depth" / kind):
                place.mkdir(parents=True, exist_ok=True)
                shape = (20, 30) if "depth" in place.parts else (20, 30, 3)
                suffix = "png" if "depth" in place.parts else "jpg"
                Image.fromarray(rng.integers(0, 255, shape).astype(np.uint8)).save(place / f"{number}.{suffix}")


def test_extras_of_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE.replace("METHOD", "cam"))
    done = CliRunner().invoke(app, ["prepare", "--recipe", "r.yaml", "--run", "run"])
    assert done.exit_code == 0, done.output
    samples = read_index(Path("run/prepare")).samples("train")
    assert samples and all(set(sample.extras) == {"depth"} for sample in samples)
    assert all("depth" not in sample.image.parts for sample in samples)
    assert extras_of(samples[0], ["depth"])["depth"].shape == (20, 30)

    for file in (tmp_path / "photos" / "depth" / "cat").iterdir():
        file.unlink()
    done = CliRunner().invoke(app, ["prepare", "--recipe", "r.yaml", "--run", "run2"])
    assert done.exit_code == 4 and ".png is missing" in done.output
    done = CliRunner().invoke(
        app, ["prepare", "--recipe", "r.yaml", "--run", "run3", "--set", "dataset.options.extras={depth: nowhere}"]
    )
    assert done.exit_code == 4 and "set the data set's option `extras.depth`" in done.output
    done = CliRunner().invoke(app, ["recipes", "check", "r.yaml", "--set", "dataset.options.extras={mask: depth}"])
    assert done.exit_code == 2 and "'mask' cannot name an extra" in done.output
    recipe.write_text(RECIPE.replace("METHOD", "eps"))
    done = CliRunner().invoke(app, ["prepare", "--recipe", "r.yaml", "--run", "run4"])
    assert done.exit_code == 3 and "eps needs a saliency map of each" in done.output, done.output


def test_extras_move_with_their_image() -> None:
    image = np.zeros((12, 16, 3), np.uint8)
    image[:6, :8] = 255
    arrays = {
        "image": image,
        "label": np.ones(1, np.float32),
        "extra/depth": image[..., 0],
        "extra/other": image[..., 0],
    }
    transform = classification_transform(AugmentSettings(flip=1.0, crop=12), with_=("depth",))
    tensors = transform(arrays, np.random.default_rng(1))
    assert "extra/other" not in tensors and tensors["extra/depth"].shape == (1, 12, 12)
    assert ((tensors["image"][0] > 0) == (tensors["extra/depth"][0] > 0)).all() and tensors["extra/depth"].max() == 1
