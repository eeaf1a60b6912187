"""The backbone of the toy recipes: feature_maps, size, options."""

from __future__ import annotations

import pytest
import torch

from wsseg_cli import nets
from wsseg_cli.errors import RecipeError


def test_feature_maps_say_what_forward_returns() -> None:
    net = nets.backbone("small")
    features = net.eval()(torch.zeros(2, 3, 128, 160))
    assert {name: feature.shape[1] for name, feature in features.items()} == net.feature_maps
    assert features["conv3"].shape[2:] == (32, 40)
    assert features["conv6"].shape[2:] == (128 // net.stride, 160 // net.stride)


def test_it_is_small() -> None:
    assert sum(p.numel() for p in nets.backbone("small").parameters()) < 200_000


def test_odd_sizes_and_every_parameter_learns() -> None:
    net = nets.backbone("small", dilation=1)
    net(torch.randn(2, 3, 61, 45))["conv6"].square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())


def test_a_frozen_backbone_does_not_move() -> None:
    net = nets.backbone("small", frozen=True).train()
    assert not any(p.requires_grad for p in net.parameters())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net(torch.randn(2, 3, 32, 32))
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_unknown_options_are_refused() -> None:
    with pytest.raises(RecipeError, match="unknown option 'depth'"):
        nets.backbone("small", depth=3)
    with pytest.raises(RecipeError, match="frozen"):
        nets.backbone("small", frozen="stem")
