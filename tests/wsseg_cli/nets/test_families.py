from __future__ import annotations

import json

import numpy as np
import pytest
from golden_cases import Case, golden

from wsseg_cli.nets import families, weights


@golden("caffe_layer_names")
def test_layers_of_the_deeplab_authors(case: Case) -> None:
    for layers in json.loads((case.folder / "mapping.json").read_text()).values():
        for layer, module in layers.items():
            assert families.caffe_layer(layer) == module.removeprefix("base."), layer


def test_shared_copies_are_left_out() -> None:
    assert families.caffe_layer("res075_res2a_branch1") is None
    tensors = {"res2a_branch1_res05.weight": 1, "res2a_branch1.weight": 2, "fc1_voc12_c3.bias": 3, "fc1_coco.weight": 4}
    assert families.caffe(tensors) == {
        "backbone.layer1.0.downsample.0.weight": 2,
        "head.branches.3.bias": 3,
        "head.classifier.weight": 4,
    }


def test_irn_leaves_its_aliases_out() -> None:
    tensors = {
        "resnet50.layer4.2.bn3.running_var": 1,
        "stage5.0.2.bn3.running_var": 2,
        "backbone.4.2.bn3.running_var": 2,
        "edge_layers.0.0.weight": 2,
        "fc_edge1.0.weight": 3,
        "fc_dp7.3.weight": 4,
        "fc_dp7.4.running_mean": 5,
        "mean_shift.running_mean": 6,
        "path_indices2": 7,
        "disp_target": 8,
    }
    assert families.irn(tensors) == {
        "backbone.layer4.2.bn3.running_var": 1,
        "edge.heads.0.conv.weight": 3,
        "displacement.field.weight": 4,
        "displacement.mean": 6,
    }


def test_first_version_of_recurseed_has_other_names() -> None:
    old = ["aspp.aspp1.atrous_conv.weight", "decoder.classifier.4.weight", "decoder.classifier.8.weight"]
    new = ["aspp.aspp1.conv.weight", "decoder.classifier.2.conv.weight", "decoder.classifier.4.weight"]
    assert list(families.rsepm(dict.fromkeys(old, np.zeros(1)))) == list(
        families.rsepm(dict.fromkeys(new, np.zeros(1)))
    )


@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("irn", ["resnet50.conv1.weight", "classifier.weight"]),
        ("wseg", ["backbone.conv1.weight", "cls_conv.bias"]),
        ("deeplab-pytorch", ["base.layer1.conv1.conv.weight"]),
        ("caffe", ["conv1.weight", "res2a_branch2a.weight", "fc1_voc12_c0.weight"]),
        ("caffe", ["conv1_1.weight", "fc6.weight", "fc7.bias"]),
        ("deeplab-vgg16", ["conv1_1.weight", "fc6.weight", "fc8_voc12.bias"]),
        ("rsepm", ["model.layer1.0.conv1.weight", "aspp.aspp1.conv.weight"]),
        ("puzzlecam", ["model.layer1.0.conv1.weight", "stage1.0.weight"]),
    ],
)
def test_families_are_known_by_their_names(family: str, names: list[str]) -> None:
    assert weights.guess_family(names) == family
