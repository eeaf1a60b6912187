"""Every method learns from images that show none of the classes: each loss of its toy recipe is finite."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wsseg_cli.plugin import discovery
from wsseg_cli.plugin.requirements import learns
from wsseg_cli.recipe.loading import load
from wsseg_cli.testing import CLASSES, MethodTester
from wsseg_cli.types import Progress

METHODS = sorted(p.name for p in discovery.find("methods") if p.builtin and learns(discovery.load_found(p)))
RECIPES = ["quickstart" if name == "cam" else f"quickstart_{name}" for name in METHODS]


@pytest.mark.parametrize("negatives", [(1,), (0, 1)], ids=["one of two", "all"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_losses_are_finite(recipe: str, negatives: tuple[int, ...]) -> None:
    cls, options = load(recipe).plugin("train-cls")
    tester: Any = type("Tester", (MethodTester,), {"plugin": cls, "options": {}})()
    plugin = cls(options, CLASSES)
    tester.targets = lambda image, mask: {
        "saliency": (mask > 0).astype(np.uint8) * 255,
        "mask": mask,
        "target/subcategory": np.zeros(len(CLASSES) * getattr(options, "subcategories", 1), np.float32),
    }
    batch = tester.batch(plugin)
    for row in negatives:
        batch["label"][row] = 0
    torch.manual_seed(0)
    model = plugin.build_model().train()
    for epoch in (0, 1000):  # before and after every warm-up
        losses = plugin.training_step(model, batch, Progress(1, 10, epoch))
        assert losses and all(torch.isfinite(loss) for loss in losses.values()), losses
        torch.stack(list(losses.values())).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
