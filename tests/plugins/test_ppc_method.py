"""PPC as a method: options, steps on small backbones, and the same losses in one process and in two."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from end_to_end.toy_run import wsseg
from pydantic import ValidationError
from wsseg_ppc.method import PPC

from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings
from wsseg_cli.types import ClassNames, Progress

CLASSES = ClassNames(["a", "b", "c"])
BASES = ("seam", "eps")


def method(base: str, **options: Any) -> PPC:
    small = {"backbone": "small", "backbone_options": {"width": 8}, "view_size": 32, "grid": 4}
    return PPC(PPC.Options(base=base, **{**small, **options}), CLASSES)  # type: ignore[arg-type]


def batch_of(ppc: PPC, crop: int, images: int = 2) -> dict[str, Any]:
    transform = ppc.train_transform(AugmentSettings(crop=crop))
    rng = np.random.default_rng(0)
    rows = []
    for index in range(images):
        arrays = {
            "image": rng.integers(0, 256, (crop, crop, 3), dtype=np.uint8),
            "saliency": rng.integers(0, 256, (crop, crop), dtype=np.uint8),
            "label": np.eye(len(ppc.classes), dtype=np.float32)[index % len(ppc.classes)],
        }
        rows.append(transform(arrays, rng) | {"index": torch.tensor(index)})
    return {name: torch.stack([row[name] for row in rows]) for name in rows[0]}


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("prototypes", ["published", "masked"])
def test_step_and_scores_on_a_small_backbone(base: str, prototypes: str) -> None:
    ppc = method(base, prototypes=prototypes)
    batch = batch_of(ppc, 64)
    assert ("saliency" in batch) == (base == "eps")
    net = ppc.build_model().train()
    torch.manual_seed(0)
    losses = ppc.training_step(net, batch, Progress(0, 10, 0))
    assert {"cross_prototype", "cross_label", "intra", "er", "ecr", "cls", "rvmin"} <= set(losses)
    sum(losses.values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is not None for p in net.parameters() if p.requires_grad)
    assert sum(len(group["params"]) for group in ppc.param_groups(net, OptimSettings(lr=0.1))) == len(
        list(net.parameters())
    )
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    scores = ppc.scores(net.eval(), image, (0, 2), InferSettings(scales=(1.0,), flip=True))
    assert scores.classes.tolist() == [0, 2] and scores.scores.shape == (2, 40, 60)
    assert scores.scores.min() >= 0 and scores.scores.max() <= 1


@pytest.mark.parametrize("base", BASES)
def test_projection_learns_from_the_contrast_alone(base: str) -> None:
    ppc = method(base, dropout=0.0)
    net, batch = ppc.build_model().train(), batch_of(ppc, 64)
    losses = ppc.training_step(net, batch, Progress(0, 10, 0))
    total = losses["cross_prototype"] + losses["cross_label"] + losses["intra"]
    total.backward()
    learning = {name for name, p in net.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}
    heads = {name for name in learning if not name.startswith("backbone.")}
    assert heads == {"fc_proj.weight" if base == "seam" else "proj_fc.weight"}
    assert learning - heads


def test_what_is_null_is_published() -> None:
    rules = PPC.Options(base="seam").rules(21)  # type: ignore[call-arg]
    assert (rules.channel, rules.background, rules.top, rules.skip, rules.keep) == (0, 0.2, 32, 3, 10)
    rules = PPC.Options(base="eps").rules(21)  # type: ignore[call-arg]
    assert (rules.channel, rules.background, rules.top, rules.skip, rules.keep) == (-1, 0.1, 16, 3, 10)
    assert (PPC.Options(base="seam").dropout_of_base(), PPC.Options(base="eps").dropout_of_base()) == (0.5, 0.0)  # type: ignore[call-arg]
    many = PPC.Options(base="eps").rules(81)  # type: ignore[call-arg]
    assert (many.skip, many.keep) == (9, 40)
    one = PPC.Options(base="eps").rules(2)  # type: ignore[call-arg]
    assert one.skip + one.keep <= 2 and one.keep == 1


def test_saliency_is_asked_for_on_eps_alone() -> None:
    assert method("eps").required.training == {"saliency"} and not method("seam").required.training


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"base": "seam", "tau": 0.3}, "tau: only base eps"),
        ({"base": "irn"}, "base"),
        ({}, "base"),
        ({"base": "eps", "kept_share": 0.7}, "exceeds hard_share 0.6"),
        ({"base": "eps", "semi_hard": (3, 0)}, "semi_hard"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        PPC.Options(**options)


RECIPE = """\
# PPC on ten toy scenes with nothing random in the network, for tests
#   wsseg run --recipe two
name: two
seed: 5
dataset:
  name: toy
  options: {train: 10, val: 6, size: [96, 80], workers: 1}
  train: train
  val: val
train_cls:
  method:
    name: ppc
    options:
      base: BASE
      backbone: small
      backbone_options: {width: 8, frozen: batch_norm}
      dropout: 0.0
      view_size: 40
      grid: 5
  weights: none
  augment: {scale_range: [0.8, 1.2], flip: 0.5, crop: 80}
  batch_size: 4
  max_steps: 20
  optim: {name: sgd, lr: 1.0e-2, momentum: 5.0e-4, weight_decay: 5.0e-4}
runtime: {workers: 0, device: cpu, log_every: 1}
"""


@pytest.mark.slow
@pytest.mark.parametrize("base", BASES)
def test_two_processes_have_the_losses_of_one(base: str, tmp_path: Path) -> None:
    recipe = tmp_path / "one" / "two.yaml"
    recipe.parent.mkdir()
    recipe.write_text(RECIPE.replace("BASE", base))
    wsseg(recipe, "prepare")
    shutil.copytree(recipe.parent, tmp_path / "two")
    runs = []
    for processes, folder in ((1, "one"), (2, "two")):
        # torchrun takes --run for an option of its own: each has its folder instead
        wsseg(tmp_path / folder / "two.yaml", "train-cls", processes=processes)
        lines = (tmp_path / folder / "runs" / "two" / "train-cls" / "metrics.jsonl").read_text().splitlines()
        runs.append([json.loads(line) for line in lines])
    one, two = runs
    assert len(one) == len(two) == 20
    assert {"intra", "cross_prototype", "cross_label"} <= set(one[0])
    assert max(line["intra"] for line in one) > 0
    for single, both in zip(one, two, strict=True):
        assert both == pytest.approx(single, abs=1e-4), f"step {single['step']}"
