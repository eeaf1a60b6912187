from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from torch import Tensor, nn
from wsseg_deeplab.segmenter import DeepLab, DeepLabOptions, DeepLabV2, DeepLabV3Plus
from wsseg_rsepm.net import RsepmNet, fused, resized, seed

from wsseg_cli import nets
from wsseg_cli.nets import weights
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ClassNames

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


class Normalised:
    """Stands in for a normalisation where a case brings the normalised image (3, H, W)."""

    def __init__(self, image: np.ndarray) -> None:
        self.image = image.transpose(1, 2, 0)

    def apply(self, _: np.ndarray) -> np.ndarray:
        return self.image


class Divided(nn.Module):
    """A network whose logits are divided by a constant."""

    def __init__(self, network: nn.Module, divisor: float) -> None:
        super().__init__()
        self.network, self.divisor, self.align_corners = network, divisor, network.align_corners

    def forward(self, images: Tensor) -> Tensor:
        return self.network(images) / self.divisor


@golden("rsepm-deeplabv2-r101", "rsepm-deeplabv3plus-r101")
@torch.no_grad()
def test_multi_stage_networks(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = case.arguments
    pooled = any("global_avg_pool" in name for name in case.arrays_of_checkpoint())
    cls, form = (DeepLabV3Plus, "v3plus_rsepm") if pooled else (DeepLabV2, "v2_rsepm")
    options = DeepLabOptions(
        backbone=arguments["backbone"], backbone_options={"output_stride": arguments["output_stride"]}, form=form
    )
    segmenter = cls(options, ClassNames([str(value) for value in range(1, arguments["num_classes"])]))
    network = segmenter.build_model().eval()
    network.load_state_dict(weights.rename(case.state_dict(), "rsepm"))
    image = torch.from_numpy(case.inputs["image"])
    features = network.backbone(image)
    logits = network.head(features)
    small = case.inputs["image_ms"]
    monkeypatch.setattr(DeepLab, "normalization", Normalised(small))
    infer = InferSettings(scales=tuple(arguments["scales"]), flip=arguments["hflip"])
    assert arguments["interpolation"] == "bilinear"
    divided = Divided(network, float(case.inputs.get("ms_seg_divisor", 1.0)))
    merged = segmenter.logits(divided, np.zeros((*small.shape[1:], 3), np.uint8), infer)
    probabilities = torch.from_numpy(merged).softmax(0)
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


def test_seed_of_no_class() -> None:
    assert seed(torch.rand(4, 5, 6), torch.zeros(3, dtype=torch.bool), (5, 6)).shape == (0, 5, 6)
