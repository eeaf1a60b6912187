from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from end_to_end.toy_run import wsseg
from PIL import Image
from toco_cases import options
from torch import Tensor, nn
from wsseg_toco.method import ToCo

from wsseg_cli.engine import checkpoint
from wsseg_cli.engine.fit import Loop
from wsseg_cli.errors import CheckpointError
from wsseg_cli.plugin.protocols import TrainingJob
from wsseg_cli.settings import (
    AugmentSettings,
    OptimSettings,
    RuntimeSettings,
    ScheduleSettings,
    TrainSettings,
)
from wsseg_cli.types import ClassNames, Progress, Sample

CLASSES = ClassNames(["cat", "dog", "cow"])
NARROW: dict[str, Any] = {"width": 16, "depth": 3, "heads": 2, "mlp_ratio": 2.0, "img_size": 32, "patch_size": 8}
SHORT: dict[str, Any] = {
    "local_size": 16,
    "local_crops": 2,
    "seg_after": 2,
    "contrast_after": 1,
    "final_after": 3,
    "par_dilations": (1, 2),
    "par_iterations": 2,
}


def method(cls: type[ToCo] = ToCo) -> ToCo:
    return cls(cls.Options(**options({**NARROW, "qkv_bias": True, "aux_layer": -2}, **SHORT)), CLASSES)


def stage(folder: Path, samples: list[Sample]) -> TrainingJob:
    settings = TrainSettings(
        weights="none",
        augment=AugmentSettings(scale_range=(0.7, 1.3), crop=32, flip=0.5, color_jitter=(0.3, 0.3, 0.3, 0.1)),
        batch_size=4,
        max_steps=8,
        optim=OptimSettings(name="adamw", lr=1e-3, weight_decay=1e-2),
        schedule=ScheduleSettings(warmup=3, warmup_start=1e-6),
        save_every=3,
    )
    return TrainingJob(folder, samples, CLASSES, settings, seed=3, fingerprint="print")


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(8):
        path = tmp_path / f"{number}.png"
        pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40 + number, 36), Image.Resampling.BICUBIC).save(path)
        made.append(Sample(str(number), path, (number % 3,)))
    return made


def loop() -> Loop:
    return Loop(RuntimeSettings(device="cpu", workers=0, log_every=1), quiet=True)


class Killed(Exception):
    """Stands for the end of a process."""


class Mortal(ToCo):
    """Dies in one of its steps."""

    def training_step(self, model: nn.Module, batch: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
        if progress.step == 5:
            raise Killed
        return super().training_step(model, batch, progress)  # type: ignore[arg-type]


def test_killed_and_resumed_is_bit_identical(tmp_path: Path, samples: list[Sample]) -> None:
    # the checkpoint is of step 3: the teacher has moved, AdamW has counted steps with gradients of zeros
    m = method()
    whole = loop()(m, stage(tmp_path / "whole", samples))
    with pytest.raises(Killed):
        loop()(method(Mortal), stage(tmp_path / "killed", samples))
    resumed = loop()(m, stage(tmp_path / "killed", samples))
    for (name, want), got in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(want, got), name
    logs = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "killed")]
    assert logs[0] == logs[1]
    lines = [json.loads(line) for line in logs[0].splitlines()]
    assert [line["seg"] > 0 for line in lines] == [False] * 3 + [True] * 5
    assert [line["ctc"] > 0 for line in lines] == [False] * 2 + [True] * 6
    moved = dict(whole.proj_head_t.named_parameters())
    still = dict(whole.proj_head.named_parameters())
    assert any(not torch.equal(moved[name], still[name]) for name in moved)


def test_weights_that_do_not_belong_are_refused(tmp_path: Path, samples: list[Sample]) -> None:
    m = method()
    loop()(m, stage(tmp_path / "run", samples))
    path = tmp_path / "run" / checkpoint.MODEL
    tensors, _ = checkpoint.read_tensors(path)
    header = checkpoint.read_header(path)
    name = "backbone.pos_embed"
    assert name in tensors
    for change in ("shape", "gone", "more"):
        wrong = dict(tensors)
        if change == "shape":
            wrong[name] = tensors[name][:, :-1].contiguous()
        elif change == "gone":
            del wrong["proj_head_t.last_layer.weight_v"]
        else:
            wrong["encoder.head.weight"] = torch.zeros(2)
        model = m.build_model()
        with pytest.raises(CheckpointError):
            checkpoint.load_strictly(model, wrong, "changed")
    assert header["fingerprint"] == "print"


RECIPE = """\
name: toco
dataset: {name: toy, options: {train: 8, val: 2, size: [64, 64], workers: 1}, train: train, val: val}
train_cls:
  method:
    name: toco
    options:
      backbone: timm/vit_tiny_patch16_224
      backbone_options: {arguments: {img_size: 48, patch_size: 8, embed_dim: 24, depth: 3, num_heads: 2}}
      projection: [16, 8, 8]
      aux_layer: -2
      local_size: 16
      local_crops: 2
      seg_after: -1
      images_per_group: 2
      par_iterations: 2
      par_dilations: [1, 2]
  weights: none
  augment: {scale_range: [0.8, 1.2], flip: 0.5, crop: 48}
  batch_size: 4
  max_steps: 4
  optim: {name: adamw, lr: 1.0e-3}
cam: {infer: {scales: [1.0, 0.5], flip: true}}
pseudo: {background: {threshold: 0.4}}
runtime: {workers: 0, device: cpu, log_every: 1}
"""


@pytest.mark.slow
def test_two_processes(tmp_path: Path) -> None:
    recipe = tmp_path / "toco.yaml"
    recipe.write_text(RECIPE)
    one, two = tmp_path / "one", tmp_path / "two"
    wsseg(recipe, "run", "--run-dir", str(one))
    shutil.copytree(one / "prepare", two / "prepare")
    wsseg(recipe, "run", "--run-dir", str(two), processes=2)
    lines = [json.loads((run / "train-cls" / "metrics.jsonl").read_text().splitlines()[0]) for run in (one, two)]
    # the same images in the same groups; only the local crops are drawn by each process for itself
    for term in ("cls", "cls_aux", "ptc", "seg", "reg"):
        assert lines[1][term] == pytest.approx(lines[0][term], rel=1e-4), term
    shutil.copy(one / "train-cls" / "model.safetensors", tmp_path / "model.safetensors")
    header = checkpoint.read_header(two / "train-cls" / "model.safetensors")
    assert header["kind"] == "methods" and header["name"] == "toco"
