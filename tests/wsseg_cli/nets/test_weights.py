from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from golden_cases import Case, golden, golden_folder
from torch import nn

from wsseg_cli import nets
from wsseg_cli.errors import CheckpointError
from wsseg_cli.nets import weights


@golden("resnet38_mxnet_names")
def test_names_of_mxnet(case: Case) -> None:
    case.check("torch_names", np.array([weights.resnet38_name(name) for name in case.inputs["mxnet_names"].tolist()]))


@golden("resnet38_mxnet_names")
def test_names_of_mxnet_are_our_backbone(case: Case) -> None:
    tensors = {name: torch.zeros(1) for name in case.inputs["mxnet_names"].tolist()}
    assert weights.guess_family(tensors) == "mxnet"
    ours = {f"backbone.{name}" for name in nets.backbone("resnet38", width=1).state_dict()}
    renamed = weights.rename(tensors, "mxnet")
    assert set(renamed) == {name for name in ours if not name.endswith("num_batches_tracked")}
    assert weights.guess_backbone(renamed) == "resnet38"


GUESSES = {
    "psa_resnet38_cls": ("psa", "resnet38"),
    "psa_vgg16_aff": ("psa", "vgg16"),
    "seam_resnet38_aff": ("psa", "resnet38"),
    "onestage-backbone-resnet38": ("psa", "resnet38"),
    "onestage-backbone-vgg16": ("caffe", "vgg16"),
    "onestage-baseline-cam": ("onestage", "vgg16"),
    "onestage-model-vgg16": ("onestage", "vgg16"),
    "onestage-model-resnet50": ("onestage", "resnet50"),
    "onestage-backbone-resnet101": ("torchvision", "resnet101"),
    "eps_forward": ("psa", "resnet38"),
    "seam_forward": ("seam", "resnet38"),
    "ppc_seam_forward": ("ppc", "resnet38"),
    "ppc_eps_forward": ("ppc", "resnet38"),
    "sccam_net": ("sccam", "resnet38"),
    "irn_resnet50_cam": ("irn", "resnet50"),
    "irn_edge_displacement": ("irn", "resnet50"),
    "rsepm-net-r50": ("rsepm", "resnet50"),
    "puzzle-classifier-r50": ("puzzlecam", "resnet50"),
    "seg_kazuto_deeplabv2_resnet101": ("deeplab-pytorch", "resnet101"),
    "seg_wseg_deeplabv1_resnet38": ("wseg", "resnet38"),
}


@pytest.mark.parametrize("name", GUESSES)
def test_guess(name: str) -> None:
    manifest = golden_folder() / name / "state_dict.json"
    if not manifest.exists():
        pytest.skip(f"no golden case {name}")
    tensors = {row[0]: torch.empty(0) for row in json.loads(manifest.read_text())}
    family = weights.guess_family(tensors)
    assert (family, weights.guess_backbone(weights.rename(tensors, family))) == GUESSES[name]


def test_guess_fails() -> None:
    with pytest.raises(CheckpointError, match=r"encoder\.weight.*no known family.*--from"):
        weights.guess_family(["encoder.weight"])
    # one network cannot be IRN's and PuzzleCAM's
    with pytest.raises(CheckpointError, match="like irn and like puzzlecam"):
        weights.guess_family(["resnet50.conv1.weight", "model.layer1.0.conv1.weight", "stage1.0.weight"])
    with pytest.raises(CheckpointError, match="unknown family of checkpoints 'pas'"):
        weights.rename({}, "pas")


def test_onestage_drops_and_joins() -> None:
    published = {
        "conv1a.weight": torch.zeros(1),
        "_aff.aff_x.kernel": torch.zeros(1),
        "fc8.weight": torch.tensor([1.0]),
        "cls_branch.2.weight": torch.tensor([2.0]),
        "mask_branch.0.weight": torch.tensor([3.0]),
        "layer3.5.conv2.weight": torch.zeros(1),
        "fc8_skip.0.weight": torch.zeros(1),
    }
    ours = weights.rename(published, "onestage")
    assert set(ours) == {"backbone.conv1a.weight", "fc8.weight", "backbone.layer3.5.conv2.weight", "fc8_skip.0.weight"}
    assert ours["fc8.weight"] == 3


def test_fit_names_everything() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2))
    tensors = model.state_dict()
    assert weights.match(tensors, model).complete
    del tensors["1.num_batches_tracked"]
    assert weights.match(tensors, model).complete
    del tensors["0.bias"]
    tensors["2.weight"] = torch.zeros(5, 4)
    tensors["head.weight"] = torch.zeros(1)
    found = weights.match(tensors, model)
    assert not found.complete
    assert found.missing == ("0.bias",)
    assert found.extra == ("head.weight",)
    assert found.wrong_shape == (("2.weight", (5, 4), (2, 4)),)
    assert "2.weight" not in found.matched and "0.weight" in found.matched


def test_one_name_of_a_shared_tensor_is_enough() -> None:
    model = nn.Module()
    model.fc8 = nn.Linear(2, 3)
    model.branch = nn.Sequential(nn.Dropout(), model.fc8)
    tensors = {name: value for name, value in model.state_dict().items() if name.startswith("branch.")}
    assert weights.match(tensors, model).complete
    assert weights.match({}, model).missing == ("fc8.weight", "fc8.bias", "branch.1.weight", "branch.1.bias")
