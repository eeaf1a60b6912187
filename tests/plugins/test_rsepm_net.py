from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from torch import Tensor
from wsseg_rsepm.net import RsepmNet, fused, fused_probabilities, resized, seed

from wsseg_cli import nets
from wsseg_cli.nets import deeplab, weights

PAPER = {"C1": "conv2", "C2": "conv3", "C3": "conv4", "C4": "conv5", "C5": "conv6"}


def single_stage(case: Case) -> RsepmNet:
    network = RsepmNet(nets.backbone("resnet50"), 20).eval()
    network.load_state_dict(weights.rename(case.state_dict(), "rsepm"))
    return network


def means(features: dict[str, Tensor]) -> dict[str, object]:
    got: dict[str, object] = {}
    for name, feature_map in PAPER.items():
        got[f"{name}_shape"] = np.array(features[feature_map].shape)
        got[f"{name}_mean_per_channel"] = features[feature_map].mean((2, 3))
    return got


@golden("rsepm-net-r50")
@torch.no_grad()
def test_single_stage_network(case: Case) -> None:
    network = single_stage(case)
    image = torch.from_numpy(case.inputs["image"])
    out = network(image)
    size = image.shape[-2:]
    case.check_all(
        {
            "cams": out.cams,
            "cls_logits": out.class_logits,
            "seg_logits": out.mask_logits,
            "seg_logits_same_nearest_ch3": resized(out.mask_logits, size, "nearest")[:, 3],
            "seg_logits_same_bilinear_ch3": resized(out.mask_logits, size, "bilinear")[:, 3],
            "aspp_mean_per_channel": network.head.aspp(out.features["conv6"]).mean((2, 3)),
            **means(out.features),
            **{f"{name}_ch0": out.features[feature_map][:, 0] for name, feature_map in PAPER.items()},
        }
    )


@golden("rsepm-net-r50-scales")
def test_fusion_of_views(case: Case) -> None:
    network = single_stage(case)
    image = torch.from_numpy(case.inputs["image"])
    arguments = case.arguments
    got: dict[str, object] = {}
    for mode in arguments["interpolation"]:
        result = fused(network, image, arguments["scales"], arguments["hflip"], mode, features=True)
        got |= {
            f"pred_class_{mode}": result.class_scores,
            f"pred_mask_{mode}": result.probabilities[arguments["pred_mask_channels"]],
            f"pred_cams_mean_{mode}": result.cams.mean(0),
            f"pred_cams_ch4_{mode}": result.cams[:, 4],
        }
        for name, feature_map in PAPER.items():
            got[f"feature_{name}_shape_{mode}"] = np.array(result.features[feature_map].shape)
            got[f"feature_{name}_ch1_{mode}"] = result.features[feature_map][0, 1]
        if mode == arguments["seed_interpolation"]:
            present = result.class_scores >= torch.from_numpy(case.inputs["conf_th"])
            got["seed"] = seed(result.probabilities, present, tuple(image.shape[1:]))
            got["keys"] = np.array([0, *(present.nonzero()[:, 0] + 1).tolist()])
    case.check_all(got)


@golden("rsepm-deeplabv2-r101", "rsepm-deeplabv3plus-r101")
@torch.no_grad()
def test_multi_stage_networks(case: Case) -> None:
    form = "v2_rsepm" if "v2" in case.name else "v3plus_rsepm"
    arguments = case.arguments
    network = deeplab.build(form, arguments["num_classes"], output_stride=arguments["output_stride"]).eval()
    network.load_state_dict(weights.rename(case.state_dict(), "rsepm"))
    image = torch.from_numpy(case.inputs["image"])
    features = network.backbone(image)
    logits = network.head(features)
    divisor = float(case.inputs.get("ms_seg_divisor", 1.0))
    small = torch.from_numpy(case.inputs["image_ms"])
    probabilities = fused_probabilities(
        lambda views: network(views) / divisor,
        small,
        arguments["scales"],
        arguments["hflip"],
        arguments["interpolation"],
    )
    classes = arguments.get("ms_classes", [0, 2, 9, 14])
    kept = probabilities.amax((1, 2)) >= arguments.get("key_threshold", 0.05)
    case.check_all(
        {
            "seg_logits": logits,
            "seg_logits_same_ch5": resized(logits, image.shape[-2:], "bilinear")[:, 5],
            **means(features),
            "ms_pred_mask": probabilities[classes],
            "ms_pred_mask_shape": np.array([1, *probabilities.shape]),
            "ms_keys": kept.nonzero()[:, 0],
            "ms_mean_per_class": probabilities.mean((1, 2)),
        }
    )


def test_size_is_the_published() -> None:
    network = RsepmNet(nets.backbone("resnet50"), 20)
    assert sum(p.numel() for p in network.parameters()) / 1e6 == pytest.approx(41.0, abs=0.05)


@torch.no_grad()
def test_probabilities_sum_to_one_without_flip() -> None:
    probabilities = fused_probabilities(lambda x: x[..., ::2, ::2], torch.randn(3, 20, 26), (1.0, 0.5), flip=False)
    torch.testing.assert_close(probabilities.sum(0), torch.ones(20, 26))


def test_seed_of_no_class() -> None:
    assert seed(torch.rand(4, 5, 6), torch.zeros(3, dtype=torch.bool), (5, 6)).shape == (0, 5, 6)
