"""Every network of ours trains and predicts in bf16, and predicts with folded batch norms: float32 but for rounding."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from small_networks import NETWORKS, TARGETS
from torch import nn

from wsseg_cli import testing
from wsseg_cli.engine.arithmetic import autocast
from wsseg_cli.nets.inference import for_inference
from wsseg_cli.plugin import FloatArray, discovery
from wsseg_cli.plugin.protocols import Method, Segmenter
from wsseg_cli.settings import InferSettings, Precision
from wsseg_cli.stages.plugins import at_inference
from wsseg_cli.types import Progress, ScoreMap

CASES = [
    (name, options)
    for name, several in NETWORKS.items()
    for options in several
    if options.get("precision") != "fp16"  # of a plugin's own, which rounds earlier
]
TESTERS = {"methods": testing.MethodTester, "refiners": testing.RefinerTester, "segmenters": testing.SegmenterTester}
INFER = InferSettings(scales=(1.0, 0.5), flip=True)


def made_tester(name: str, options: dict[str, Any]) -> Any:
    """Return the tester of a plugin, GROUP.NAME."""
    group, _, plugin_name = name.partition(".")
    body: dict[str, Any] = {"plugin": discovery.load(group, plugin_name), "options": options}
    if name in TARGETS:
        body["targets"] = lambda self, image, mask: TARGETS[name](mask)
    return type("Tester", (TESTERS[group],), body)()


def maps(tester: Any, plugin: Any, model: nn.Module, precision: Precision) -> FloatArray:
    """Return what a plugin says of a made-up image, (K, H, W) float32."""
    image, mask = testing.made_up()
    with at_inference(plugin, precision, "cpu"):
        if isinstance(plugin, Segmenter):
            said = plugin.logits(model, image, INFER)
        elif isinstance(plugin, Method):
            said = plugin.scores(model, image, (0, 2), INFER, **tester.extras(mask)).scores
        else:
            coarse = np.stack([0.7 * (mask == value) + 0.1 for value in (1, 3)])[:, ::4, ::4].astype(np.float32)
            start = ScoreMap("", np.array([0, 2]), coarse, mask.shape)
            said = plugin.refine(model, image, (0, 2), start, InferSettings()).scores
    assert said.dtype == np.float32 and np.isfinite(said).all()
    return said


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_the_same_maps(name: str, options: dict[str, Any]) -> None:
    tester = made_tester(name, options)
    plugin = tester.make()
    model = tester.model(plugin).eval()
    want = maps(tester, plugin, model, "fp32")
    scale = float(np.abs(want).max())
    assert scale > 0
    fast = maps(tester, plugin, for_inference(copy.deepcopy(model)), "fp32")
    half = maps(tester, plugin, model, "bf16")
    np.testing.assert_allclose(fast, want, rtol=0, atol=1e-5 * scale)
    # on average within one step of bf16; CPUs that multiply bf16 in hardware sum in another order
    assert 0 < np.abs(half - want).mean() < torch.finfo(torch.bfloat16).eps * scale


@pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{name}-{i}" for i, (name, _) in enumerate(CASES)])
def test_the_same_step(name: str, options: dict[str, Any]) -> None:
    tester = made_tester(name, options)
    plugin = tester.make()
    if not plugin.required.trains:
        pytest.skip("it learns nothing")
    model = tester.model(plugin).train()
    batch = tester.batch(plugin)

    def step(precision: Precision) -> tuple[dict[str, Any], torch.Tensor]:
        learner = copy.deepcopy(model)
        torch.manual_seed(0)
        with autocast("cpu", precision):
            losses = plugin.training_step(learner, batch, Progress(0, 10, 0))
        torch.stack(list(losses.values())).sum().backward()
        gradients = [p.grad.flatten() for p in learner.parameters() if p.grad is not None]
        return {key: loss.item() for key, loss in losses.items()}, torch.cat(gradients)

    (want, exact), (found, rounded) = step("fp32"), step("bf16")
    # losses that choose pixels or tokens by a threshold choose a few others
    assert found == pytest.approx(want, rel=0.25, abs=0.02)
    assert torch.cosine_similarity(exact, rounded, dim=0) > 0.8
