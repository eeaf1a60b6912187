"""One optimiser step of a full-size recipe of every method and refiner that learns, on a CPU at crop 224."""

from __future__ import annotations

import pytest
import torch

from benchmarks.training_step import Trainer

SECTIONS = {
    "cam_voc": "train-cls",
    "eps_voc": "train-cls",
    "seam_voc": "train-cls",
    "ppc_seam_voc": "train-cls",
    "ppc_eps_voc": "train-cls",
    "sccam_voc": "train-cls",
    "onestage_voc": "train-cls",
    "rsepm_voc": "train-cls",
    "puzzlecam_voc": "train-cls",
    "recam_voc": "train-cls",
    "psa_voc": "refine",
    "irn_voc": "refine",
}
RESNET38_OF_PSA = {"cam_voc", "eps_voc", "seam_voc", "ppc_seam_voc", "ppc_eps_voc", "sccam_voc", "psa_voc"}


@pytest.mark.slow
@pytest.mark.parametrize("name", SECTIONS)
def test_step_of_a_full_size_recipe(name: str) -> None:
    # The pooled branch of DeepLab v3+ has one value an image, and a batch norm needs two.
    trainer = Trainer(name, SECTIONS[name], crop=224, batch=2 if name == "rsepm_voc" else 1)
    learning = {n: p for n, p in trainer.model.named_parameters() if p.requires_grad}
    grouped = {id(p) for group in trainer.optimizer.param_groups for p in group["params"]}
    sums = {n: p.detach().double().sum().item() for n, p in trainer.model.named_parameters()}
    losses = trainer.step(trainer.batch())
    assert all(torch.isfinite(loss) for loss in losses.values()), losses
    after = {n: p.detach().double().sum().item() for n, p in trainer.model.named_parameters()}
    moved = {n for n in sums if after[n] != sums[n]}
    taught = {n for n, p in learning.items() if id(p) in grouped}
    assert len(moved & taught) > len(taught) / 2
    assert all(torch.isfinite(p).all() for p in learning.values())
    if name in RESNET38_OF_PSA:
        rates = [group["lr"] for group in trainer.optimizer.param_groups]
        # old weights, old biases, new weights, new biases
        assert [rate / rates[0] for rate in rates] == pytest.approx([1, 2, 10, 20])
        assert "backbone.b2.conv_branch2a.weight" in set(sums) - moved
