"""cam with folded batch norms and in bf16: nearly the same maps, other fingerprints, said in the protocol."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from typer.testing import CliRunner

from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.main import app

RECIPE = """\
name: arithmetic
dataset: {name: toy, options: {train: 2, val: 1, size: [64, 64], workers: 1}, train: train}
train_cls:
  method: {name: cam, options: {backbone: small, backbone_options: {width: 4}}}
  weights: none
  batch_size: 2
  max_steps: 4
  optim: {name: sgd, lr: 0.01}
cam: {store_stride: 1}
runtime: {workers: 0, device: cpu}
"""


def test_maps_of_cam(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(RECIPE)

    def maps(*words: str) -> dict[str, np.ndarray]:
        common = ("--recipe", str(recipe), "--run", str(tmp_path / "run"), "--quiet")
        done = CliRunner().invoke(app, [words[0], *common, *words[1:]])
        assert done.exit_code == 0, done.output
        return {name: scores.scores for name, scores in ScoreStore(tmp_path / "run" / "cam").items()}

    plain = maps("run", "--to", "cam")
    assert len(plain) == 2 and all(scores.any() for scores in plain.values())
    for key, most in (("cam.fold_norms=true", 1e-3), ("cam.infer.precision=bf16", 0.1)):
        others = maps("cam", "--force", "--set", key)
        assert max(np.abs(others[name] - plain[name]).max() for name in plain) < most
    said = maps("eval", "--set", "cam.infer.precision=bf16")
    record = json.loads((tmp_path / "run" / "eval" / "cam-train.json").read_text())
    assert said and record["protocol"]["infer"]["precision"] == "bf16"
