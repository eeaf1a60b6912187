"""Backbones by name: the entries of the group, their options, and that what they say of a network is true of it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from wsseg_cli import nets
from wsseg_cli.errors import RecipeError
from wsseg_cli.plugin.backbones import backbone_entry
from wsseg_cli.plugin.discovery import find
from wsseg_cli.plugin.inspection import class_values

OURS = [found for found in find("backbones") if found.builtin and found.name != "timm"]
NARROW: dict[str, dict[str, Any]] = {"resnet38": {"width": 2}, "vgg16": {"width": 2}}


def test_unknown_backbone() -> None:
    with pytest.raises(RecipeError, match=r"unknown backbone 'resnet39'.*did you mean 'resnet38'"):
        nets.backbone("resnet39")
    with pytest.raises(RecipeError, match=r"unknown backbone 'resnet50/a'; write resnet50"):
        nets.backbone("resnet50/a")
    with pytest.raises(RecipeError, match=r"unknown backbone 'timm'; write timm/MODEL"):
        nets.backbone("timm")


def test_normalization_follows_options() -> None:
    assert nets.normalization("resnet38") == nets.NORMALIZATIONS["imagenet"]
    assert nets.normalization("vgg16").order == "BGR"
    assert nets.normalization("vgg16", normalization="imagenet").order == "RGB"


def test_required_feature_maps() -> None:
    nets.require_feature_maps("resnet38", {"conv4", "conv5", "conv6"})
    with pytest.raises(RecipeError, match=r"'resnet38' has no feature map conv9"):
        nets.require_feature_maps("resnet38", {"conv9", "conv6"})
    with pytest.raises(
        RecipeError,
        match=r"choose one of efficientnet_lite0, efficientnet_lite1, efficientnet_lite2, resnet101, resnet50, small",
    ):
        nets.require_feature_maps("vgg16", {"conv2"})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"witdh": 2}, r"backbone 'vgg16': unknown option 'witdh'; there are .*; did you mean 'width'\?"),
        ({"width": 0}, r"backbone 'vgg16': option width is 0: Input should be greater than or equal to 1"),
        ({"width": "two"}, r"option width is 'two': Input should be a valid integer"),
        ({"pool5": "mean"}, r"option pool5 is 'mean': Input should be 'none', 'max' or 'max_mean'"),
        (
            {"normalization": "torch"},
            r"option normalization is 'torch': Input should be 'imagenet', 'caffe' or 'tensorflow'",
        ),
    ],
)
def test_options_are_checked(options: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        backbone_entry("vgg16", options)


@pytest.mark.parametrize("found", OURS, ids=lambda found: found.name)
def test_an_entry_says_what_the_network_is(found: Any) -> None:
    entry = backbone_entry(found.name)
    said = class_values(found.target)
    assert said["feature_maps"] == entry.feature_maps and said["parameters"] == entry.parameters
    with torch.device("meta"):
        net = nets.backbone(found.name)
        features = net(torch.zeros(2, 3, 192, 256))
    assert sum(p.numel() for p in net.parameters()) == entry.parameters
    assert {name: 192 // feature.shape[2] for name, feature in features.items()} == entry.feature_maps
    assert {name: feature.shape[1] for name, feature in features.items()} == net.feature_maps
    assert net.stride == entry.feature_maps["conv6"]
    assert net.normalization == entry.normalization == nets.normalization(found.name)


@pytest.mark.parametrize("found", OURS, ids=lambda found: found.name)
def test_what_is_frozen(found: Any) -> None:
    options = NARROW.get(found.name, {})
    with torch.device("meta"):
        whole = nets.backbone(found.name, frozen="whole", **options)
        free = nets.backbone(found.name, frozen=False, **options)
    assert not any(p.requires_grad for p in whole.parameters())
    assert all(p.requires_grad for p in free.parameters())
    with pytest.raises(RecipeError, match=r"unknown frozen 'legs'; expected one of whole, batch_norm"):
        nets.backbone(found.name, frozen="legs", **options)
