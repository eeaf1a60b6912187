from __future__ import annotations

import pytest

from wsseg_cli import nets
from wsseg_cli.errors import RecipeError


def test_unknown_backbone() -> None:
    with pytest.raises(RecipeError, match=r"unknown backbone 'resnet39'.*did you mean 'resnet38'"):
        nets.backbone("resnet39")


def test_normalization_follows_options() -> None:
    assert nets.normalization("resnet38") == nets.NORMALIZATIONS["imagenet"]
    assert nets.normalization("vgg16").order == "BGR"
    assert nets.normalization("vgg16", normalization="imagenet").order == "RGB"


def test_required_feature_maps() -> None:
    nets.require_feature_maps("resnet38", {"conv4", "conv5", "conv6"})
    with pytest.raises(RecipeError, match=r"'resnet38' has no feature map conv9"):
        nets.require_feature_maps("resnet38", {"conv9", "conv6"})


@pytest.mark.parametrize("name", nets.BACKBONES)
def test_table_agrees_with_network(name: str) -> None:
    net = nets.backbone(name, **{"resnet38": {"width": 2}, "vgg16": {"width": 2}}.get(name, {}))
    assert tuple(net.feature_maps) == nets.BACKBONES[name].feature_maps
    assert net.normalization == nets.normalization(name)
