"""Several refiners, one after the other: folders, fingerprints and trainings of their own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.engine import checkpoint
from wsseg_cli.main import app
from wsseg_cli.recipe import loading
from wsseg_cli.run.fingerprint import asks, reads_of

HEAD = """\
name: chain
dataset: {name: toy, options: {train: 6, val: 2}, train: train, val: val}
train_cls:
  method: {name: cam, options: {backbone: small, backbone_options: {width: 8}}}
  weights: none
  batch_size: 4
  max_steps: 2
  augment: {crop: 64}
  optim: {name: sgd, lr: 0.01}
cam: {}
runtime: {workers: 0, device: cpu}
"""
CHAIN = """\
refine:
  refiner:
    - name: pamr
      options: {iterations: 2}
    - name: crf
      options: {power: 2, crf: {iterations: 1}}
"""
TRAINED = """\
refine:
  refiner:
    - name: psa
      options: {backbone: small, backbone_options: {width: 8}, steps_log2: 2, crf: {iterations: 1}}
      train: {weights: train_cls, augment: {crop: 64}, batch_size: 2, max_steps: 2, optim: {name: sgd, lr: 0.01}}
    - {name: pamr, options: {iterations: 1}}
"""


def wsseg(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def written(folder: Path, refine: str) -> list[str]:
    (folder / "r.yaml").write_text(HEAD + refine)
    return ["--recipe", str(folder / "r.yaml"), "--run", str(folder / "run"), "--quiet"]


def test_each_reads_the_maps_of_the_one_before(tmp_path: Path) -> None:
    given = written(tmp_path, CHAIN)
    done = wsseg("run", *given, "--to", "refine")
    assert done.exit_code == 0, done.output
    run = tmp_path / "run"
    first, last = ScoreStore(run / "refine-1"), ScoreStore(run / "refine")
    assert len(first) == len(last) == 6
    name = next(iter(last))
    assert last[name].background is not None and first[name].background is None
    record = json.loads((run / "refine" / "stage.json").read_text())
    assert list(record["reads"]) == ["prepare", "refine-1"] and "refine.refiner.1.options.power" in record["asks"]
    assert wsseg("refine", *given).output.count("is up to date") == 1

    # what the last refiner is asked makes the last one anew, and no other
    before = (run / "refine-1" / "done.json").stat().st_mtime_ns
    chain = "[{name: pamr, options: {iterations: 2}}, {name: crf, options: {power: 3, crf: {iterations: 1}}}]"
    changed = [*given, "--set", f"refine.refiner={chain}"]
    done = wsseg("refine", *changed)
    assert done.exit_code == 5 and "refine.refiner.1.options.power: 2 → 3" in done.output
    assert wsseg("refine", *changed, "--force").exit_code == 0
    assert (run / "refine-1" / "done.json").stat().st_mtime_ns == before
    assert wsseg("refine", *changed, "--force").exit_code == 0  # nothing has changed: all are made again
    assert (run / "refine-1" / "done.json").stat().st_mtime_ns > before


@pytest.mark.slow
def test_each_has_its_own_training(tmp_path: Path) -> None:
    given = written(tmp_path, TRAINED)
    done = wsseg("run", *given, "--to", "refine")
    assert done.exit_code == 0, done.output
    header = checkpoint.read_header(tmp_path / "run" / "refine-1" / "train" / checkpoint.MODEL)
    assert header["name"] == "psa" and not (tmp_path / "run" / "refine" / "train").exists()


def test_what_a_chain_cannot_be(tmp_path: Path) -> None:
    given = written(tmp_path, CHAIN)[:2]
    both = "refine.train={weights: none, batch_size: 2, max_steps: 1, optim: {lr: 0.1}}"
    done = wsseg("recipes", "check", str(tmp_path / "r.yaml"), "--set", both)
    assert done.exit_code == 2 and "each refiner in a list takes its own `train`" in done.output
    done = wsseg("recipes", "check", str(tmp_path / "r.yaml"), "--set", "refine.refiner=[]")
    assert done.exit_code == 2 and "at least 1 item" in done.output
    done = wsseg("recipes", "check", str(tmp_path / "r.yaml"), "--set", "refine.refiner=[{name: psa}, {name: crff}]")
    assert "refine.refiner[0].train: is missing: refiner 'psa' learns" in done.output, done.output
    assert "refine.refiner[1].name: no plugin 'crff'" in done.output and given


def test_records_of_a_single_refiner_stay_valid(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(HEAD + "refine: {refiner: {name: crf, options: {power: 2}}}\n")
    recipe = loading.load(tmp_path / "r.yaml").recipe
    assert reads_of(recipe, "refine") == ("prepare", "cam")
    assert asks(recipe, "refine") == {
        "refine.refiner.name": "crf",
        "refine.refiner.options.power": 2,
        "refine.train": None,
        "refine.infer.scales": [1.0],
        "refine.infer.flip": False,
        "refine.store_stride": 4,
        "seed": 0,
        "dataset.train": ["train"],
        "dataset.score": ["train"],
        "cam.labels.train": "given",
        "cam.labels.val": "predicted",
    }
