from __future__ import annotations

import json

import pytest
import torch
from golden_cases import Case, golden
from wsseg_affinity.irn_net import IRNet
from wsseg_cam.method import CAM

from wsseg_cli import nets
from wsseg_cli.errors import RecipeError
from wsseg_cli.nets import weights
from wsseg_cli.recipe import loading
from wsseg_cli.types import ClassNames


@golden("irn_resnet50_cam")
@torch.no_grad()
def test_classifier(case: Case) -> None:
    recipe = loading.load("irn_voc").recipe
    options = CAM.Options.model_validate_json(json.dumps(recipe.train_cls.method.options))
    network = CAM(options, ClassNames([str(c) for c in range(len(case.outputs["logits"][0]))])).build_model().eval()
    network.load_state_dict(weights.rename(case.state_dict(), "irn"))
    pair = torch.from_numpy(case.inputs["image_pair"])
    last = network.backbone(pair)["conv6"]
    cams = network.cams(pair)
    case.check_all(
        {
            "logits": network(pair),
            "cam": cams[0] + cams[1].flip(-1),
            "layer4_first8_div1e4": last[:, :8] / 1e4,
            "layer4_mean_div1e3": last.mean(1) / 1e3,
        }
    )


@golden("irn_edge_displacement")
@torch.no_grad()
def test_edge_and_displacement(case: Case) -> None:
    network = IRNet(nets.backbone("resnet50", frozen="whole"))
    network.load_state_dict(weights.rename(case.state_dict(), "irn"))
    pair = torch.from_numpy(case.inputs["image_pair"])
    edge_logits, field = network.train()(pair)
    edge, centred = network.infer(pair[0], case.arguments["crop_size"])
    case.check_all(
        {
            "edge_logit": edge_logits,
            "displacement_train_mode": field,
            "displacement": network.displacement.centred(field),
            "edge": edge,
            "displacement_infer": centred,
        }
    )


@golden("rsepm-affinity-r50")
@torch.no_grad()
def test_boundary_network_of_recurseed(case: Case) -> None:
    network = IRNet(nets.backbone(case.arguments["backbone"], frozen="whole"), displacement=False, eps=1e-3)
    network.load_state_dict(weights.rename(case.state_dict(), "rsepm"))
    image = torch.from_numpy(case.inputs["image"])
    size = case.arguments["image_size"]
    padded = torch.nn.functional.pad(image, (0, size - image.shape[2], 0, size - image.shape[1]))
    edge, field = network.infer(image, size)
    case.check_all({"edge": edge, "edge_logits_padded": network(padded[None])[0]})
    assert field is None


def test_only_the_heads_learn() -> None:
    network = IRNet(nets.backbone("resnet50", frozen="whole")).train()
    learning = {name.split(".")[0] for name, p in network.named_parameters() if p.requires_grad}
    assert learning == {"edge", "displacement"}
    assert not network.backbone.bn1.training
    edge, field = network(torch.randn(1, 3, 40, 56))
    (edge.sum() + field.sum()).backward()
    assert network.backbone.conv1.weight.grad is None and network.edge.classifier.weight.grad is not None


@torch.no_grad()
def test_an_image_larger_than_the_padding_is_not_cut() -> None:
    edge, field = IRNet(nets.backbone("resnet50", frozen="whole")).infer(torch.randn(3, 40, 85), padded=64)
    assert edge.shape == (1, 10, 22) and field.shape == (2, 10, 22)


def test_a_backbone_without_the_early_map_is_refused() -> None:
    with pytest.raises(RecipeError, match="conv2"):
        IRNet(nets.backbone("vgg16"))


@torch.no_grad()
@pytest.mark.parametrize(("backbone", "options"), [("small", {}), ("resnet50", {"output_stride": 8})])
def test_backbones_of_another_stride(backbone: str, options: dict[str, object]) -> None:
    edge, field = IRNet(nets.backbone(backbone, **{"frozen": "whole", **options})).infer(
        torch.randn(3, 37, 61), padded=64
    )
    assert edge.shape == (1, 10, 16) and field.shape == (2, 10, 16)
