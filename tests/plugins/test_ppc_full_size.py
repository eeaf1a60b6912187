"""One optimiser step of the full-size recipes of EPS and PPC on ResNet-38, on a CPU: crop 224, one image."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from wsseg_cli.engine.optim import build_optimizer, set_rates
from wsseg_cli.protocols import Method
from wsseg_cli.recipe import load
from wsseg_cli.types import ClassNames, Progress

CROP = 224


@pytest.mark.slow
@pytest.mark.parametrize("name", ["eps_voc", "ppc_seam_voc", "ppc_eps_voc"])
def test_step_of_a_full_size_recipe(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEIGHTS", "not read here")
    recipe = load(name)
    section = recipe.section("train-cls")
    cls, options = recipe.plugin("train-cls")
    method = cls(options, ClassNames([f"class{i}" for i in range(20)]))  # type: ignore[call-arg, arg-type]
    assert isinstance(method, Method)
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.integers(0, 256, (CROP, CROP, 3), dtype=np.uint8),
        "saliency": rng.integers(0, 256, (CROP, CROP), dtype=np.uint8),
        "label": np.eye(20, dtype=np.float32)[14],
    }
    augment = section.augment.model_copy(update={"crop": CROP, "resize_long": None})
    batch = {key: value[None] for key, value in method.train_transform(augment)(arrays, rng).items()}
    batch["index"] = torch.tensor([0])
    torch.manual_seed(0)
    model = method.build_model().train()
    optimizer = build_optimizer(method.param_groups(model, section.optim), section.optim)
    progress = Progress(0, section.max_steps, 0)
    set_rates(optimizer, section.schedule, progress)
    losses = method.training_step(model, batch, progress)
    assert all(torch.isfinite(loss) for loss in losses.values()), losses
    frozen = model.backbone.b2.conv_branch2a.weight.clone()  # type: ignore[union-attr]
    before = model.fc8.weight.clone()  # type: ignore[union-attr]
    sum(losses.values()).backward()  # type: ignore[union-attr]
    optimizer.step()
    assert model.backbone.b2.conv_branch2a.weight.equal(frozen)  # type: ignore[union-attr]
    assert not model.fc8.weight.equal(before)  # type: ignore[union-attr, arg-type]
    # old weights, old biases, new weights, new biases
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.01, 0.02, 0.1, 0.2])
