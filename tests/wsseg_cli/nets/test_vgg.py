from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_cases import Case, golden

from wsseg_cli.errors import RecipeError
from wsseg_cli.nets import backbone


@golden("onestage-backbone-vgg16")
@torch.no_grad()
def test_onestage_form(case: Case) -> None:
    net = backbone("vgg16", frozen="onestage", normalization="imagenet").eval()
    net.load_state_dict(case.state_dict())
    got: dict[str, object] = {}
    for name, module in net.named_children():

        def keep(module: object, inputs: object, x: torch.Tensor, name: str = name) -> None:
            got[f"stat_{name}"] = np.array([x.mean().item(), x.std().item(), x.abs().max().item()])

        module.register_forward_hook(keep)
    maps = net(torch.from_numpy(case.inputs["x"]))
    step3, step6 = case.arguments["conv3_channel_step"], case.arguments["conv6_channel_step"]
    got |= {
        "conv3_ch16": maps["conv3"][:, ::step3],
        "conv3_chmean": maps["conv3"].mean(1),
        "conv6_slice": maps["conv6"][:, ::step6],
        "conv6_chmean": maps["conv6"].mean(1),
        "conv6_spmean": maps["conv6"].mean((2, 3)),
    }
    case.check_all(got)


@pytest.mark.parametrize(("frozen", "names"), [("psa", 4), ("onestage", 2), (True, 4), (False, 0)])
def test_frozen_layers(frozen: bool | str, names: int) -> None:
    still = [n for n, p in backbone("vgg16", width=2, frozen=frozen).train().named_parameters() if not p.requires_grad]
    assert len(still) == 2 * names


@pytest.mark.parametrize(("size", "ceil", "cells"), [(321, True, 41), (320, True, 41), (320, False, 40)])
def test_sizes(size: int, ceil: bool, cells: int) -> None:
    net = backbone("vgg16", width=1, ceil_pools=ceil, pool5="max_mean", fc6_dilation=None)
    maps = net(torch.zeros(1, 3, size, size))
    assert maps["conv6"].shape[2:] == (cells, cells)
    assert {feature_map: m.shape[1] for feature_map, m in maps.items()} == net.feature_maps


def test_unknown_option() -> None:
    with pytest.raises(RecipeError, match=r"'mean': Input should be 'none', 'max' or 'max_mean'"):
        backbone("vgg16", pool5="mean")
