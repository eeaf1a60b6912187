"""The second resolution of score maps: kept where the recipe's refiner asks for it, and refused where it is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsseg_cli.data.index import read_index
from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.engine import checkpoint
from wsseg_cli.errors import StageError
from wsseg_cli.recipe import loading
from wsseg_cli.run.directory import RunDir
from wsseg_cli.stages import Context, run_stage
from wsseg_cli.stages.plugins import method_of

RECIPE = """\
name: walk
dataset: {name: toy, options: {train: 2, val: 1}, train: train}
train_cls:
  method: {name: cam, options: {backbone: small}}
  weights: none
  batch_size: 1
  max_steps: 1
  optim: {name: sgd, lr: 0.1}
cam: {}
runtime: {workers: 0, device: cpu}
"""
REFINE = """\
refine:
  refiner: {name: irn, options: {backbone: small, padded: 16, radius: 3, walk_radius: 3}}
  train: {weights: train_cls, batch_size: 1, max_steps: 1, optim: {name: sgd, lr: 0.1}, augment: {crop: 64}}
"""


def context(folder: Path, text: str, force: bool = False) -> Context:
    (folder / "walk.yaml").write_text(text)
    loaded = loading.load(folder / "walk.yaml")
    return Context(RunDir(folder / "run", loaded), loaded, force=force, quiet=True)


def test_maps_from_before_the_refiner_are_refused(tmp_path: Path) -> None:
    plain = context(tmp_path, RECIPE)
    run_stage("prepare", plain)
    method = method_of(plain, read_index(plain.prepared).classes)
    plain.run.begin("train-cls")
    model = method.build_model()
    checkpoint.write_model(plain.run.folder("train-cls") / checkpoint.MODEL, model, {"weights": "none"})
    plain.run.finish("train-cls")
    run_stage("cam", plain)
    store = ScoreStore(plain.run.folder("cam"))
    assert len(store) == 2 and len(store.without_strided(list(store))) == 2

    walking = context(tmp_path, RECIPE + REFINE)
    assert run_stage("cam", walking).skipped
    with pytest.raises(StageError, match=r"2 score maps.*second resolution.*wsseg cam --force"):
        run_stage("refine", walking)

    run_stage("cam", context(tmp_path, RECIPE + REFINE, force=True))
    assert not store.without_strided(list(store))
    assert all(store[name].strided is not None for name in store)
