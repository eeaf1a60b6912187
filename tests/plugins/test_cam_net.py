from __future__ import annotations

import re

import pytest
import torch
from golden_cases import Case, golden
from wsseg_cam.net import CamNet

from wsseg_cli import nets
from wsseg_cli.nets import weights


def loaded(case: Case, backbone: str, **options: object) -> CamNet:
    tensors = weights.rename(case.state_dict(), "psa")
    model = CamNet(nets.backbone(backbone), len(tensors["fc8.weight"]), **options).eval()
    model.load_state_dict(tensors)
    return model


def parts(case: Case, maps: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return what the case keeps of feature maps: TAP_firstN_div1eM and TAP_mean_div1eM."""
    got = {}
    for name in case.outputs:
        if found := re.fullmatch(r"(conv\w+?)_(?:first(\d+)|mean)_div1e(\d)", name):
            values = maps["conv6" if found[1] == "conv5fc" else found[1]]
            kept = values[:, : int(found[2])] if found[2] else values.mean(1)
            got[name] = kept / 10 ** int(found[3])
    return got


@golden("resnet38_cls_forward")
@torch.no_grad()
def test_classifier(case: Case) -> None:
    model = loaded(case, "resnet38")
    images = torch.from_numpy(case.inputs["x"])
    case.check_all({"pred": model(images), "cam": model.cams(images)})


@golden("psa_resnet38_cls")
@torch.no_grad()
def test_psa_on_resnet38(case: Case) -> None:
    model = loaded(case, "resnet38")
    images = torch.from_numpy(case.inputs["image"])
    got = parts(case, model.backbone(images))
    case.check_all(got | {"cam": model.cams(images), "logits": model(images)})


@golden("psa_vgg16_cls")
@torch.no_grad()
def test_psa_on_vgg16(case: Case) -> None:
    model = loaded(case, "vgg16", activation="sqrt_relu")
    images = torch.from_numpy(model.normalization.apply(case.inputs["image_uint8"])).permute(2, 0, 1)[None]
    torch.testing.assert_close(images, torch.from_numpy(case.inputs["image"]))
    got = parts(case, model.backbone(images))
    case.check_all(got | {"cam": model.cams(images), "logits": model(images)})


@pytest.mark.parametrize("backbone", ["resnet38", "vgg16"])
def test_scores_are_the_mean_of_raw_maps(backbone: str) -> None:
    model = CamNet(nets.backbone(backbone, width=2), 3).eval()
    images = torch.randn(2, 3, 33, 49)
    torch.testing.assert_close(model(images), model.raw_cams(images).mean((2, 3)))


def test_dropout_acts_in_training_only() -> None:
    model = CamNet(nets.backbone("vgg16", width=2), 3, dropout=1.0)
    images = torch.randn(2, 3, 33, 33)
    assert model.train()(images).count_nonzero() == 0
    assert model.eval()(images).count_nonzero() > 0
