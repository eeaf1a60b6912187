"""Every method on networks of timm: one training step, and a score map of three odd sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from wsseg_cli.errors import RecipeError
from wsseg_cli.plugin.discovery import find, load
from wsseg_cli.plugin.protocols import Method, Segmenter
from wsseg_cli.settings import InferSettings
from wsseg_cli.testing import CLASSES, MethodTester, SegmenterTester, check_score_map, made_up

NETWORKS = (
    "resnet18",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "tf_efficientnet_lite0",
    "swin_tiny_patch4_window7_224",
)
SIZES = ((75, 90), (64, 41), (97, 131))
EXTRA: dict[str, dict[str, Any]] = {
    "onestage": {"channels": 8, "pad_size": None, "aspp_dilations": (1, 2, 3), "pamr_iterations": 1},
    "ppc": {"base": "seam"},
    "sccam": {"subcategories": 2},
    "toco": {"local_size": 32, "projection": (16, 8, 8), "backbone_options": {}},
}
PLAIN_TRANSFORMERS_ONLY = ("toco",)
METHODS = sorted(found.name for found in find("methods") if found.builtin)
WITH_BACKBONE = [name for name in METHODS if "backbone" in load("methods", name).Options.model_fields]


def test_only_clip_brings_its_own_network() -> None:
    assert set(METHODS) - set(WITH_BACKBONE) == {"clipes"}


def method_test(cls: type[Method[Any, Any]], network: str, **options: Any) -> MethodTester:
    class Test(MethodTester):
        plugin = cls

        def targets(self, image: np.ndarray, mask: np.ndarray) -> dict[str, Any]:
            more = {"target/subcategory": np.array([1, 0, 0, 0, 1, 0], np.float32)}
            return super().targets(image, mask) | more

    Test.options = {"backbone": f"timm/{network}", **options}
    return Test()


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", WITH_BACKBONE)
def test_methods(method: str, network: str) -> None:
    if method in PLAIN_TRANSFORMERS_ONLY and not network.startswith("vit_"):
        with pytest.raises(RecipeError, match="needs a plain transformer"):
            method_test(load("methods", method), network, **EXTRA[method]).make().build_model()  # type: ignore[arg-type]
        return
    test = method_test(load("methods", method), network, **EXTRA.get(method, {}))  # type: ignore[arg-type]
    test.test_a_step_learns()
    test.test_every_weight_is_in_one_group()
    plugin = test.make()
    model = test.model(plugin).eval()
    with torch.inference_mode():
        for size in SIZES:
            image, mask = made_up(size=size)
            extras = {name: (mask > 0).astype(np.uint8) for name in plugin.required.inference}
            scores = plugin.scores(model, image, (0, 2), InferSettings(scales=(1.0, 0.5), flip=True), **extras)
            check_score_map(scores, size, (0, 2))


@pytest.mark.slow
@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("segmenter", ["deeplabv1", "deeplabv3plus"])
def test_segmenters(segmenter: str, network: str) -> None:
    class Test(SegmenterTester):
        plugin: type[Segmenter[Any, Any]] = load("segmenters", segmenter)  # type: ignore[assignment]
        options = {"backbone": f"timm/{network}"}

    test = Test()
    test.test_a_step_learns()
    plugin = test.make()
    model = test.model(plugin).eval()
    with torch.inference_mode():
        for size in SIZES:
            image, _ = made_up(size=size)
            assert plugin.logits(model, image, InferSettings()).shape == (1 + len(CLASSES), *size)


def test_a_map_that_is_lacking_is_named() -> None:
    plugin: Any = load("methods", "seam")
    made = plugin(plugin.Options(backbone="timm/efficientvit_m0"), CLASSES)
    assert made.required.feature_maps == {"conv4", "conv5", "conv6"}
    refiner: Any = load("refiners", "irn")
    with pytest.raises(RecipeError, match=r"'timm/resnet18' has no feature map conv2"):
        refiner(refiner.Options(backbone="timm/resnet18"), CLASSES).build_model()
