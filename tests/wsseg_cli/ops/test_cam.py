"""Class activation maps: norms, fusion, one image's score map."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from golden_cases import Case, golden
from torch import Tensor, nn

from wsseg_cli.metrics.confusion import Confusion
from wsseg_cli.ops.cam import (
    class_activation_maps,
    max_norm,
    min_max_norm,
    multi_scale,
    rectified_min_max_norm,
)
from wsseg_cli.ops.crf import CrfParameters, add_power_background, dense_crf
from wsseg_cli.ops.views import merge_views, view_batches
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import IMAGENET


def pairs(case: Case, name: str, keep: Any = slice(None)) -> list[Tensor]:
    """Return the given maps of a case, one (2, K, h, w) a scale."""
    views = [torch.from_numpy(case.inputs[f"{name}{i}"]) for i in range(2 * len(case.arguments["scales"]))]
    views = [v[None] if v.dim() == 3 else v for v in views]
    return [torch.cat([a, b])[:, keep] for a, b in zip(views[::2], views[1::2], strict=True)]


def label_map(maps: Tensor, values: Any, background: float) -> np.ndarray:
    """Return mask values (H, W): the highest of a constant background and the maps."""
    scores = np.concatenate([np.full((1, *maps.shape[1:]), background, np.float32), np.asarray(maps)])
    return np.concatenate([[0], np.asarray(values) + 1])[scores.argmax(0)]


@golden("psa_cam_fusion")
def test_psa(case: Case) -> None:
    fused = max_norm(merge_views(pairs(case, "cam_view"), tuple(case.arguments["size"])))
    pred = label_map(fused, case.inputs["present"], case.arguments["background"])
    case.check_all({"norm_cam": fused, "pred": pred.astype(case.outputs["pred"].dtype)})


@golden("eps_infer_fusion")
def test_eps(case: Case) -> None:
    infer = InferSettings(scales=tuple(case.arguments["scales"]), flip=True)
    for prefix, softmax in (("eps", True), ("cls", False), ("eps_coco", True)):
        image, label = case.inputs[f"{prefix}/image"], case.inputs[f"{prefix}/label"]
        labels = tuple(np.flatnonzero(label).tolist())
        maps = iter(pairs(case, f"{prefix}/map_"))
        seen: list[Tensor] = []

        def forward(batch: Tensor, maps: Any = maps, seen: list[Tensor] = seen) -> Tensor:
            seen.append(batch)
            return next(maps)

        def activation(raw: Tensor, softmax: bool = softmax) -> Tensor:
            return raw.softmax(1)[:, :-1] if softmax else raw

        scores = multi_scale(
            nn.Identity(), image, labels, infer, normalization=IMAGENET, forward=forward, activation=activation
        )
        pred = label_map(torch.from_numpy(scores.scores), scores.classes, case.arguments["thr"])
        case.check(f"{prefix}/classes", scores.classes)
        case.check(f"{prefix}/norm_cam", scores.scores)
        case.check(f"{prefix}/pred", pred.astype(case.outputs[f"{prefix}/pred"].dtype))
        case.check(f"{prefix}/sizes", np.array([v.shape[2:] for v in seen for _ in range(2)]))
        case.check(f"{prefix}/net_input_scale0.5", seen[0][:1])
    assert case.checked == set(case.outputs)


@golden("seam_infer_fusion")
def test_seam(case: Case) -> None:
    infer = InferSettings(scales=tuple(case.arguments["scales"]), flip=True)
    image, classes = case.inputs["image"], np.flatnonzero(case.inputs["label"] > 1e-5)
    views = list(view_batches(image, infer, IMAGENET))
    fused = min_max_norm(merge_views(pairs(case, "net_output_", classes + 1), image.shape[:2]))
    pred = label_map(fused, classes, case.arguments["out_cam_pred_alpha"])
    got = {
        "classes": classes,
        "norm_cam": fused,
        "pred": pred.astype(case.outputs["pred"].dtype),
        "sizes": np.array([v.shape[2:] for v in views for _ in range(2)]),
        "net_input_scale0.5": views[0][:1],
        "net_input_scale0.5_flip": views[0][1:],
        "net_input_scale1.5": views[2][:1],
    }
    crf = case.arguments["crf"]
    parameters = CrfParameters(
        gaussian_sxy=crf["gauss_sxy"],
        gaussian_weight=crf["gauss_compat"],
        bilateral_sxy=crf["bi_sxy"],
        bilateral_srgb=crf["bi_srgb"],
        bilateral_weight=crf["bi_compat"],
        iterations=crf["t"],
    )
    for alpha in case.arguments["crf_alpha"]:
        got[f"crf_alpha{alpha}"] = dense_crf(image, add_power_background(fused.numpy(), alpha), parameters)
    case.check_all(got)


@golden("sccam_fusion")
def test_sccam(case: Case) -> None:
    a = case.arguments
    size, k, present = tuple(a["size"]), a["k_cluster"], np.array(a["present"])
    parent = max_norm(merge_views(pairs(case, "parent_view"), size))
    sub = max_norm(merge_views(pairs(case, "sub_view"), size), group=k)
    merged = sub.unflatten(0, (-1, k)).amax(1)
    masks = {"parent": label_map(parent, present, a["th"]), "sub": label_map(merged, present, a["th"])}
    counts = {}
    for name, mask in masks.items():
        counts[name] = Confusion(len(case.inputs["label"]))
        counts[name].add(case.inputs["gt"], mask.astype(np.uint8))
    case.check_all(
        {
            "norm_cam": parent,
            "norm_cam_sub": sub,
            "merged_sub": merged,
            "seg_parent": masks["parent"].astype(case.outputs["seg_parent"].dtype),
            "seg_sub": masks["sub"].astype(case.outputs["seg_sub"].dtype),
            "saved_cam_quirk": np.where(parent.numpy() > a["th"], 255, 0).astype(np.float32),
            "miou_parent": counts["parent"].mean_iou("without_truth"),
            "miou_sub": counts["sub"].mean_iou("without_truth"),
            "pixel_acc": counts["parent"].accuracy(),
            "mean_acc": counts["parent"].mean_accuracy(),
            "fwiou": counts["parent"].frequency_weighted_iou(),
        }
    )


def test_maps_average_to_the_logits() -> None:
    torch.manual_seed(0)
    features, weight = torch.randn(2, 6, 4, 5), torch.randn(3, 6)
    maps = class_activation_maps(features, weight)
    assert torch.allclose(maps.mean((2, 3)), features.mean((2, 3)) @ weight.T, atol=1e-6)
    assert torch.equal(class_activation_maps(features, weight[:, :, None, None]), maps)


def test_norms_of_nothing_and_of_zeros() -> None:
    for norm in (max_norm, min_max_norm):
        assert norm(torch.zeros(0, 4, 4)).shape == (0, 4, 4)
    assert (max_norm(torch.zeros(1, 2, 2)) == 0).all()
    assert torch.allclose(min_max_norm(torch.zeros(1, 2, 2)), torch.tensor(-1.0))


def test_rectified_norm_has_a_gradient_and_lies_between_0_and_1() -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 3, 4, 4, requires_grad=True)
    normed = rectified_min_max_norm(maps)
    normed.sum().backward()
    assert normed.min() >= 0 and normed.max() < 1 and maps.grad is not None and maps.grad.abs().sum() > 0


class Painted(nn.Module):
    """Raw maps that do not depend on the image: class 0 is there, class 1 is not, class 2 is there."""

    def forward(self, images: Tensor) -> Tensor:
        maps = torch.tensor([3.0, -3.0, 2.0])[None, :, None, None] * torch.ones(len(images), 3, 4, 4)
        maps[:, 0, 0] = 6.0
        return maps


def test_given_and_predicted_labels() -> None:
    image, infer = np.zeros((16, 24, 3), np.uint8), InferSettings(scales=(1.0, 0.5), flip=True)
    given = multi_scale(Painted(), image, (2, 1), infer, normalization=IMAGENET)
    assert given.classes.tolist() == [1, 2] and given.scores.shape == (2, 16, 24) and given.size == (16, 24)
    assert given.scores[0].max() == 0 and 0.99 < given.scores[1].max() <= 1
    predicted = multi_scale(Painted(), image, None, infer, normalization=IMAGENET)
    assert predicted.classes.tolist() == [0, 2]
    alone = multi_scale(Painted(), image, (0, 2), infer, normalization=IMAGENET)
    assert np.array_equal(alone.scores, predicted.scores)


def test_no_class_is_an_answer() -> None:
    image, infer = np.zeros((16, 24, 3), np.uint8), InferSettings()
    for labels, threshold in (((), 0.5), (None, 0.999)):
        scores = multi_scale(Painted(), image, labels, infer, normalization=IMAGENET, class_threshold=threshold)
        assert scores.scores.shape == (0, 16, 24) and scores.classes.dtype == np.int64
