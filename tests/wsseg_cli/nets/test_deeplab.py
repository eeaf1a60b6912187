from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from torch import Tensor, nn

from wsseg_cli.errors import RecipeError
from wsseg_cli.nets import deeplab, weights

CAFFE_STAGES = {"layer1": "conv2", "layer2": "conv3", "layer3": "conv4", "layer4": "conv5", "layer5": "conv6"}
WSEG_STAGES = {"l1": "conv3", "l2": "conv4", "l3": "conv5", "l4": "conv6"}
RESNET38_STAGES = {"conv4": "conv4", "conv5": "conv5", "conv6": "conv6"}


def loaded(case: Case, family: str, form: str, outputs: int = 21, **options: object) -> deeplab.DeepLab:
    network = deeplab.build(form, outputs, **options).eval()
    network.load_state_dict(weights.rename(case.state_dict(), family))
    return network


def stages(features: dict[str, Tensor], names: dict[str, str]) -> dict[str, object]:
    """Spatial means of 64 channels, a corner, and the shape of each feature map, as the cases have them."""
    got: dict[str, object] = {}
    for name, feature_map in names.items():
        got[f"{name}_mean"] = features[feature_map][0, :64].mean((1, 2))
        got[f"{name}_corner"] = features[feature_map][0, :8, :3, :3]
        got[f"{name}_shape"] = np.array(features[feature_map].shape)
    return got


def enlarged(logits: Tensor) -> dict[str, object]:
    return {
        "logits_sub": logits[:, :, ::4, ::4],
        "logits_row": logits[0, :, logits.shape[2] // 2],
        "logits_mean": logits.mean((2, 3)),
    }


@golden("seg_kazuto_deeplabv1_resnet101_coco", "seg_kazuto_deeplabv2_resnet101")
@torch.no_grad()
def test_caffe_layout(case: Case) -> None:
    form = "v1_caffe" if "v1" in case.name else "v2"
    network = loaded(case, "deeplab-pytorch", form, case.arguments["n_classes"])
    features = network.backbone(torch.from_numpy(case.inputs["image"]))
    case.check_all({**stages(features, CAFFE_STAGES), "logits": network.head(features)})


@golden("seg_kazuto_deeplabv2_resnet101_msc")
@torch.no_grad()
def test_multi_scale(case: Case) -> None:
    network = loaded(case, "deeplab-pytorch", "v2")
    scales = case.arguments["scales"]
    full, *smaller, highest = deeplab.pyramid_logits(network, torch.from_numpy(case.inputs["image"]), scales)
    got = {f"train_{scale}x": logits for scale, logits in zip(scales, smaller, strict=True)}
    case.check_all({"train_1x": full, "train_max": highest, "eval": highest, **got})


@golden("seg_wseg_deeplabv1_resnet101", "seg_wseg_deeplabv1_resnet101_plainstem", "seg_wseg_deeplabv1_resnet38")
@torch.no_grad()
def test_large_fov(case: Case) -> None:
    name = case.arguments["backbone"]
    stem = {"stem": "deep" if case.arguments["deep_base"] else "7x7"} if "deep_base" in case.arguments else {}
    network = loaded(case, "wseg", "v1", backbone=name, **stem)
    image = torch.from_numpy(case.inputs["image"])
    names = RESNET38_STAGES if name == "resnet38" else WSEG_STAGES
    case.check_all({**stages(network.backbone(image), names), **enlarged(network(image))})


@golden("seg_wseg_deeplabv2_resnet101", "seg_wang_deeplabv3plus_resnet101")
@torch.no_grad()
def test_concatenated_aspp(case: Case) -> None:
    family, form = ("wang", "v3plus") if "v3plus" in case.name else ("wseg", "v2_aspp_bn")
    network = loaded(case, family, form)
    image = torch.from_numpy(case.inputs["image"])
    case.check_all({**stages(network.backbone(image), WSEG_STAGES), **enlarged(network(image))})


def part(network: deeplab.DeepLab, name: str) -> object:
    """Return the function that a probe calls `name`."""
    backbone, head = network.backbone, network.head
    if name == "decoder":
        return lambda x: head.decode(x[:, :256, ::2, ::2], x[:, 256:])
    if name == "stem":
        return backbone.stem
    if name == "head":
        return lambda x: head({"conv6": x})
    if name == "bn7":
        return lambda x: torch.relu(backbone.bn7(x))
    if name == "aspp":
        return head.aspp if hasattr(head, "aspp") else lambda x: head({"conv6": x})
    inside = {"shortcut_conv": "shortcut", "cat_conv": "decoder", "cls_conv": "classifier"}
    return head.get_submodule(inside[name]) if name in inside else backbone.get_submodule(name)


PROBES = {
    "seg_kazuto_deeplabv2_resnet101_probe": ("deeplab-pytorch", "v2", {}),
    "seg_rs_deeplabv2_resnet101_probe": ("rsepm", "v2_rsepm", {}),
    "seg_rs_deeplabv3plus_resnet101_probe": ("rsepm", "v3plus_rsepm", {}),
    "seg_wang_deeplabv3plus_resnet101_probe": ("wang", "v3plus", {}),
    "seg_wseg_deeplabv1_resnet101_plainstem_probe": ("wseg", "v1", {"stem": "7x7"}),
    "seg_wseg_deeplabv1_resnet101_probe": ("wseg", "v1", {}),
    "seg_wseg_deeplabv1_resnet38_probe": ("wseg", "v1", {"backbone": "resnet38"}),
    "seg_wseg_deeplabv2_resnet101_probe": ("wseg", "v2_aspp_bn", {}),
}


def torchvision_name(name: str) -> str:
    """Return our name of a block that deeplab-pytorch counts from one."""
    if not name.startswith("layer") or "block" not in name:
        return "stem" if name == "layer1" else name
    stage, block = name.removeprefix("layer").split(".block")
    return f"layer{int(stage) - 1}.{int(block) - 1}"


@golden(*PROBES)
@torch.no_grad()
def test_single_parts(case: Case) -> None:
    family, form, options = PROBES[case.name]
    network = loaded(case, family, form, **options)
    got = {}
    for name in case.arguments["modules"]:
        ours = torchvision_name(name) if family == "deeplab-pytorch" else name
        result = part(network, ours)(torch.from_numpy(case.probe(name)))
        got[name] = result[0] if isinstance(result, tuple) else result
    case.check_all(got)


@pytest.mark.parametrize(("form", "millions"), [("v1", 52.3), ("v3plus", 59.6), ("v3plus_rsepm", 59.4)])
def test_sizes_are_the_published(form: str, millions: float) -> None:
    count = sum(parameter.numel() for parameter in deeplab.build(form, 21).parameters())
    assert count / 1e6 == pytest.approx(millions, abs=0.05)


@torch.no_grad()
@pytest.mark.parametrize("form", ["v1_vgg16", "v2_vgg16", "v2_vgg16_small"])
def test_vgg16_has_the_sizes_of_caffe(form: str) -> None:
    network = deeplab.build(form, 5).eval()
    assert network(torch.zeros(1, 3, 65, 98)).shape == (1, 5, 9, 14)  # 321 gives 41: (n - 1) / 8 + 1, rounded up
    assert network.normalization.order == "BGR"


def test_vgg16_branches_start_alike() -> None:
    network = deeplab.build("v2_vgg16", 5)
    layers = {
        name: torch.full(shape, 0.5) for name, shape in (("fc6.weight", (1024, 512, 3, 3)), ("fc7.bias", (1024,)))
    }
    named = weights.rename(layers, "deeplab-vgg16-aspp")
    assert len(named) == 8 and not weights.match(named, network).extra


def test_batch_norm_of_large_fov_does_not_learn_but_moves() -> None:
    network = deeplab.build("v1", 5, backbone="resnet50", output_stride=16, frozen="deeplab").train()
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert all(norm.training and not norm.weight.requires_grad for norm in norms)


def test_any_backbone_with_the_feature_maps() -> None:
    network = deeplab.build("v3plus", 4, backbone="small").eval()
    assert network(torch.zeros(1, 3, 48, 64)).shape == (1, 4, 48, 64)


def test_unknown_form() -> None:
    with pytest.raises(RecipeError, match="v3plus"):
        deeplab.build("v3+", 21)
