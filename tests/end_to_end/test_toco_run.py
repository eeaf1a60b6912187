"""A method that is its own segmentation network: killed and resumed; its masks are evaluated as a network's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from end_to_end.test_kill import inside, kill_when
from end_to_end.toy_run import results, wsseg

RECIPE = """\
# ToCo on ten toy scenes, for tests
#   wsseg run --recipe tiny
name: tiny
seed: 3
dataset:
  name: toy
  options: {train: 10, val: 6, size: [64, 64], workers: 1}
  train: train
  val: val
  score: [train, val]
train_cls:
  method:
    name: toco
    options:
      backbone: timm/vit_tiny_patch16_224
      backbone_options: {arguments: {img_size: 64, patch_size: 8, embed_dim: 24, depth: 4, num_heads: 2}}
      projection: [16, 8, 16]
      local_size: 16
      local_crops: 2
      cam_scales: [1.0]
      contrast_after: 3
      seg_after: 6
      par_dilations: [1, 2]
  weights: none
  augment: {scale_range: [0.8, 1.2], interpolation: pillow_bilinear, flip: 0.5, crop: 64}
  batch_size: 4
  max_steps: 12
  save_every: 4
  optim: {name: adamw, lr: 1.0e-3, weight_decay: 1.0e-2}
cam: {infer: {scales: [1.0], flip: true}}
pseudo: {background: {threshold: 0.4}}
eval: {infer: {scales: [1.0], flip: true}}
runtime: {workers: 1, device: cpu, log_every: 1}
"""


def recipe_in(folder: Path) -> Path:
    folder.mkdir()
    path = folder / "tiny.yaml"
    path.write_text(RECIPE)
    return path


@pytest.mark.slow
def test_killed_and_resumed(tmp_path: Path) -> None:
    whole, killed = (recipe_in(tmp_path / name) for name in ("whole", "killed"))
    wsseg(whole, "run")
    runs = {path: path.parent / "runs" / "tiny" for path in (whole, killed)}
    kill_when(killed, inside("train-cls", "step_*", 1))
    wsseg(killed, "run")
    want, got = results(runs[whole]), results(runs[killed])
    assert all(want[name] for name in want if not name.startswith("train-seg"))
    assert got == want

    last = json.loads((runs[whole] / "train-cls" / "metrics.jsonl").read_text().splitlines()[-1])
    assert {"cls", "cls_aux", "ptc", "ctc", "seg", "reg"} <= set(last) and last["seg"] > 0 and last["ctc"] > 0
