"""The real commands on a toy set small enough for tests, in processes of their own."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

RECIPE = """\
# A toy set of ten training scenes, for tests
#   wsseg run --recipe tiny
name: tiny
seed: 3
dataset:
  name: toy
  options: {train: 10, val: 6, size: [96, 80], workers: 1}
  train: train
  val: val
  score: [train, val]
train_cls:
  method: {name: cam, options: {backbone: small, backbone_options: {width: 8}, dropout: 0.3}}
  weights: none
  augment: {scale_range: [0.8, 1.2], flip: 0.5, crop: 80}
  batch_size: 4
  max_steps: 30
  save_every: 5
  optim: {name: adamw, lr: 1.0e-3, weight_decay: 1.0e-2}
cam:
  infer: {scales: [1.0, 1.5], flip: true}
pseudo:
  background: {threshold: 0.4}
  crf: psa
train_seg:
  segmenter: {name: deeplabv2, options: {backbone: small, backbone_options: {width: 8}, form: v2_small}}
  weights: train_cls
  augment: {scale_range: [0.8, 1.2], flip: 0.5, crop: 80}
  batch_size: 4
  max_steps: 20
  save_every: 5
  optim: {name: adamw, lr: 1.0e-3, weight_decay: 1.0e-2}
runtime: {workers: 1, device: cpu, log_every: 5}
"""


def write_recipe(folder: Path) -> Path:
    """Write the tiny recipe into `folder` and return its path."""
    path = folder / "tiny.yaml"
    path.write_text(RECIPE)
    return path


def environment() -> dict[str, str]:
    """Return an environment in which one thread computes, without another launcher's variables."""
    hidden = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}
    return {k: v for k, v in os.environ.items() if k not in hidden} | {"OMP_NUM_THREADS": "1"}


def command(recipe: Path, *words: str, processes: int = 1) -> list[str]:
    """Return the command line of `wsseg WORDS --recipe RECIPE`, under torchrun for several processes."""
    start = [sys.executable]
    if processes > 1:
        # --standalone lets each launcher find a free port of its own
        start += ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return [*start, "-m", "wsseg_cli", *words, "--recipe", str(recipe)]


def wsseg(
    recipe: Path, *words: str, processes: int = 1, code: int = 0, timeout: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a command in the recipe's folder and check its exit code."""
    run = subprocess.run(
        command(recipe, *words, processes=processes),
        cwd=recipe.parent,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=timeout,
    )
    assert run.returncode == code, f"exit {run.returncode}\n{run.stdout}\n{run.stderr}"
    return run


def contents(folder: Path, pattern: str) -> dict[str, str]:
    """Return the hash of every file that matches `pattern` in `folder`, by name."""
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.glob(pattern))}


RESULTS = (
    ("train-cls", "model.safetensors"),
    ("train-cls", "metrics.jsonl"),
    ("cam", "*.safetensors"),
    ("pseudo", "*.png"),
    ("train-seg", "model.safetensors"),
    ("train-seg", "metrics.jsonl"),
    ("eval/seg-val", "*.png"),
)


def results(run: Path) -> dict[str, dict[str, str]]:
    """Return the hashes of all that a run is for."""
    return {f"{stage}/{pattern}": contents(run / stage, pattern) for stage, pattern in RESULTS}
