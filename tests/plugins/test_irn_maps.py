import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from irn_instances import centroids, detections, instance_masks
from torch import nn
from wsseg_affinity.irn_labels import combined, irn_confident_labels, scores_at_size, thresholded
from wsseg_affinity.irn_loss import displacement_difference, displacement_target, irn_loss
from wsseg_cam.method import CAM

from wsseg_cli.errors import DataError
from wsseg_cli.ops.affinity import pair_labels
from wsseg_cli.ops.crf import crf_parameters, dense_crf, labels_of
from wsseg_cli.ops.masks import present_values
from wsseg_cli.ops.paths import path_affinity, path_pairs
from wsseg_cli.recipe import loading
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ClassNames


@golden("irn_losses")
def test_loss_and_gradients(case: Case) -> None:
    edge = torch.from_numpy(case.inputs["edge_logit"]).requires_grad_()
    displacement = torch.from_numpy(case.inputs["displacement"]).requires_grad_()
    pairs = path_pairs(tuple(case.arguments["size"]), case.arguments["radius"])
    directions = len(pairs.offsets)
    loss = irn_loss(edge, displacement, pair_labels(torch.from_numpy(case.inputs["label"]), pairs), pairs)
    loss.total.backward()
    affinity = path_affinity(torch.sigmoid(edge[:, 0]), pairs)
    difference = displacement_difference(displacement, pairs)

    def by_direction(values: torch.Tensor) -> torch.Tensor:
        return values.unflatten(-1, (directions, -1))

    a = loss.affinity
    case.check_all(
        {
            "affinity": by_direction(affinity),
            "pos_aff_map": by_direction(-torch.log(affinity + 1e-5)),
            "dp_fg_map_mean": by_direction((difference - displacement_target(pairs)).abs()).mean(-1),
            "dp_bg_map_mean": by_direction(difference.abs()).mean(-1),
            "bg_pos_aff_loss": a.background,
            "fg_pos_aff_loss": a.foreground,
            "pos_aff_loss": (a.background + a.foreground) / 2,
            "neg_aff_loss": a.negative,
            "dp_fg_loss": loss.foreground,
            "dp_bg_loss": loss.background,
            "total_loss": loss.total,
            "grad_edge_logit": edge.grad,
            "grad_displacement": displacement.grad,
        }
    )


@golden("irn_cam_fusion")
def test_fused_cams(case: Case) -> None:
    label, scales = case.inputs["label"], tuple(map(float, case.arguments["scales"]))
    given = [torch.from_numpy(case.inputs[f"cam_scale{i}"]) for i in range(len(scales))]
    carried = loading.load("irn_voc").recipe.train_cls.method.options
    method = CAM(CAM.Options(multiple=carried["multiple"]), ClassNames([str(c) for c in range(len(label))]))
    image = np.zeros((*case.arguments["size"], 3), np.uint8)
    classes = tuple(np.flatnonzero(label).tolist())
    scores = method.scores(Given(given), image, classes, InferSettings(scales=scales, flip=True))
    case.check_all({"strided": scores.strided, "high_res": scores.scores, "keys": scores.classes})


class Given(nn.Module):
    """Gives the maps of one scale after the other; image and flipped image are added up in them already."""

    def __init__(self, maps: list[torch.Tensor]) -> None:
        super().__init__()
        self.maps = iter(maps)

    def raw_cams(self, views: torch.Tensor) -> torch.Tensor:
        both = next(self.maps)
        return torch.stack([both, torch.zeros_like(both)])


@golden("irn_cam_to_ir_label")
def test_confident_labels(case: Case) -> None:
    a, image, cams, keys = case.arguments, case.inputs["image"], case.inputs["high_res"], case.inputs["keys"]
    preset = crf_parameters("irn")
    assert (preset.gaussian_sxy, preset.gaussian_weight) == (a["sxy_gaussian"], a["compat_gaussian"])
    assert (preset.bilateral_sxy, preset.bilateral_srgb, preset.bilateral_weight) == (
        a["sxy_bilateral"],
        a["srgb"],
        a["compat_bilateral"],
    )
    assert (preset.iterations, preset.certainty) == (a["t"], a["gt_prob"])
    rows = [thresholded(cams, a[f"conf_{name}_thres"]) for name in ("fg", "bg")]
    values = present_values(keys)
    sure, possible = (values[labels_of(dense_crf(image, row, "irn", labels=len(values)))] for row in rows)
    conf = irn_confident_labels(image, cams, keys, a["conf_fg_thres"], a["conf_bg_thres"])
    assert np.array_equal(conf, combined(sure, possible))
    case.check_all(
        {
            "fg_argmax": rows[0].astype("uint8"),
            "bg_argmax": rows[1].astype("uint8"),
            "fg_conf": sure.astype("uint8"),
            "bg_conf": possible.astype("uint8"),
            "conf": conf,
        }
    )


@golden("irn_instances")
def test_instances(case: Case) -> None:
    a, field = case.arguments, case.inputs["displacement"]
    ends = centroids(field, a["iterations"])
    masks = instance_masks(ends, field, a["thres"])
    found = detections(case.inputs["scores"], masks, np.arange(len(masks)), a["max_fragment_size"])
    case.check_all(
        {
            "centroids": ends,
            "instance_onehot": masks,
            "det_score": found.scores,
            "det_mask": found.masks,
            "det_class": found.classes,
        }
    )


def test_no_class() -> None:
    image = np.zeros((9, 5, 3), np.uint8)
    empty = np.zeros((0, 9, 5), np.float32)
    assert not irn_confident_labels(image, empty, np.zeros(0, np.int64)).any()
    assert scores_at_size(torch.zeros(0, 3, 2), (9, 5)).shape == (0, 9, 5)


def test_one_pixel() -> None:
    image = np.zeros((1, 1, 3), np.uint8)
    assert irn_confident_labels(image, np.ones((1, 1, 1), np.float32), np.array([3])).tolist() == [[4]]
    method = CAM(CAM.Options(multiple=16), ClassNames(["one"]))
    scores = method.scores(Given([torch.ones(1, 1, 1)]), image, (0,), InferSettings(flip=True))
    assert scores.strided is not None and scores.strided.shape == scores.scores.shape == (1, 1, 1)


def test_walked_zeros_stay_zero() -> None:
    assert not scores_at_size(torch.zeros(2, 2, 2), (5, 7)).any()


def test_bad_thresholds_and_scores() -> None:
    image, keys = np.zeros((2, 2, 3), np.uint8), np.array([0])
    with pytest.raises(DataError, match="is above"):
        irn_confident_labels(image, np.zeros((1, 2, 2), np.float32), keys, 0.1, 0.2)
    with pytest.raises(DataError, match="NaN"):
        irn_confident_labels(image, np.full((1, 2, 2), np.nan, np.float32), keys)
    with pytest.raises(DataError, match="displacement field"):
        centroids(np.full((2, 3, 3), np.nan, np.float32))
    pairs = path_pairs((4, 4), 2)
    with pytest.raises(DataError, match="differ in size"):
        irn_loss(torch.zeros(1, 1, 4, 4), torch.zeros(1, 2, 3, 4), pair_labels(torch.zeros(1, 4, 4), pairs), pairs)


def test_no_detection_is_an_empty_result() -> None:
    found = detections(np.zeros((1, 3, 4), np.float32), np.zeros((1, 3, 4), bool), np.array([2]), 1.0)
    assert found.masks.shape == (0, 3, 4) and len(found.scores) == len(found.classes) == 0


def test_a_map_without_pairs_has_no_loss() -> None:
    pairs = path_pairs((1, 1), 5)
    loss = irn_loss(torch.zeros(1, 1, 1, 1), torch.zeros(1, 2, 1, 1), pair_labels(torch.zeros(1, 1, 1), pairs), pairs)
    assert float(loss.total) == 0
