from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_cases import Case, golden

from wsseg_cli.errors import RecipeError
from wsseg_cli.nets import backbone, weights
from wsseg_cli.nets.resnet import CAFFE_LAYOUT


@golden("onestage-backbone-resnet50", "onestage-backbone-resnet101")
@torch.no_grad()
def test_onestage_form(case: Case) -> None:
    net = backbone(case.arguments["backbone"], frozen="onestage").eval()
    tensors = weights.rename(case.state_dict(), "torchvision")
    net.load_state_dict({name.removeprefix("backbone."): tensor for name, tensor in tensors.items()})
    got: dict[str, object] = {}
    for name, module in net.named_children():
        module.register_forward_hook(
            lambda _module, _inputs, x, name=name: got.update(
                {f"stat_{name}": np.array([x.mean().item(), x.std().item(), x.abs().max().item()])}
            )
        )
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


DILATIONS = {
    "none": [1, 1, 1, 1],
    "torchvision": [1, 2, 2, 4],
    "undilated_first": [1, 2, 1, 4],
    "all_blocks": [2, 2, 4, 4],
}


@pytest.mark.parametrize("rule", DILATIONS)
def test_dilation_rules(rule: str) -> None:
    net = backbone("resnet50", output_stride=8, dilation=rule)
    blocks = [net.layer3[0], net.layer3[1], net.layer4[0], net.layer4[1]]
    assert [block.conv2.dilation[0] for block in blocks] == DILATIONS[rule]


@torch.no_grad()
@pytest.mark.parametrize("stride", [8, 16, 32])
def test_feature_maps_and_stride_are_what_the_backbone_says(stride: int) -> None:
    net = backbone("resnet50", output_stride=stride).eval()
    maps = net(torch.zeros(1, 3, 64, 96))
    assert {feature_map: values.shape[1] for feature_map, values in maps.items()} == net.feature_maps
    assert list(maps)[-1] == "conv6"
    assert maps["conv6"].shape[2:] == (64 // stride, 96 // stride)
    assert maps["conv3"].shape[2:] == (16, 24)


def test_torchvision_rule_is_torchvision() -> None:
    from torchvision.models import resnet50

    theirs = resnet50(weights=None, replace_stride_with_dilation=[False, True, True]).eval()
    ours = backbone("resnet50", output_stride=8, dilation="torchvision").eval()
    named = weights.rename(theirs.state_dict(), "torchvision")
    ours.load_state_dict({name.removeprefix("backbone."): tensor for name, tensor in named.items()})
    image = torch.randn(1, 3, 49, 65, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
        x = theirs.layer4(theirs.layer3(theirs.layer2(theirs.layer1(x))))
        torch.testing.assert_close(ours(image)["conv6"], x)


def test_caffe_layout() -> None:
    net = backbone("resnet50", **CAFFE_LAYOUT)
    assert (net.layer2[0].conv1.stride, net.layer2[0].conv2.stride) == ((2, 2), (1, 1))
    assert net.maxpool.ceil_mode and net.bn1.momentum == 1e-3
    assert net.normalization.order == "BGR" and net.normalization.scale == 1


def learning(backbone: torch.nn.Module) -> set[str]:
    return {name for name, parameter in backbone.named_parameters() if parameter.requires_grad}


def test_what_learns_by_form() -> None:
    irn = backbone("resnet50", frozen="irn")
    assert {name.split(".")[0] for name in learning(irn)} == {"layer3", "layer4"}
    assert "layer4.0.bn1.weight" in learning(irn)
    irn.train()
    assert not any(m.training for m in irn.modules() if isinstance(m, torch.nn.BatchNorm2d))
    deeplab = backbone("resnet50", frozen="deeplab").train()
    assert deeplab.bn1.training and "bn1.weight" not in learning(deeplab) and "conv1.weight" in learning(deeplab)
    assert not learning(backbone("resnet50", frozen="whole"))


@pytest.mark.parametrize(
    "options", [{"dilation": "first"}, {"output_stride": 4}, {"stem": "5x5"}, {"frozen": "half"}, {"strides": 8}]
)
def test_unknown_options_are_named(options: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match=str(next(iter(options.values()))) if "strides" not in options else "strides"):
        backbone("resnet50", **options)
