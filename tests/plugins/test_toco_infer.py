from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from toco_cases import TINY, Fixed, Given, a_batch, filled, head_of, method, sees, step, tensors
from torch import Tensor, nn
from wsseg_toco.method import ToCo

from wsseg_cli.ops.masks import crf_scores, mask_from_scores, probabilities
from wsseg_cli.recipe import loading
from wsseg_cli.recipe.background import BackgroundSettings
from wsseg_cli.recipe.sections import PseudoSettings
from wsseg_cli.settings import InferSettings, MaskCrfSettings
from wsseg_cli.stages.pseudo import pseudo_mask
from wsseg_cli.types import Normalization, ScoreMap


class Plain(Given):
    """The method on pixels that are normalised already."""

    normalization = Normalization((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 1.0)  # type: ignore[assignment]


class Recorded(nn.Module):
    """Stands for the network: gives the maps of each call in order and keeps what it was asked."""

    def __init__(self, *outputs: Any) -> None:
        super().__init__()
        self.classifier = nn.Conv2d(1, 1, 1)
        self.outputs, self.sizes, self.batches = iter(outputs), [], []

    def forward(self, images: Tensor) -> Any:
        self.sizes.append(list(images.shape[-2:]))
        self.batches.append(len(images))
        return Both(next(self.outputs))

    def raw_cams(self, seen: Any) -> Any:
        return seen.final

    def decoder(self, final: Any) -> Any:
        return final


class Both:
    """What the network saw, which here is the output itself."""

    def __init__(self, given: Any) -> None:
        self.final = given


def cut(case: Case, got: dict[str, Any]) -> dict[str, Any]:
    """Return the outputs cut as the case's slices say."""
    for name, said in case.arguments["slices"].items():
        rows, columns = said["step"]
        got[name] = got[name][..., ::rows, ::columns]
    return got


@golden("toco_cams_multi_scale")
def test_maps_of_several_scales(case: Case) -> None:
    a, given = case.arguments, tensors(case)
    scales = tuple(a["scales"])
    network = a["network"]
    m = method(network["classes"], network, cls=Plain, projection=head_of(case), cam_scales=scales)
    model = filled(m, case)
    cam, cam_aux = m.class_maps(model, given["network/image"])
    said = a["fusion"]
    outputs = [(given[f"fusion/cam_scale{n}"], given[f"fusion/cam_aux_scale{n}"]) for n in range(len(scales))]
    stub = Recorded(*outputs)
    blank = torch.zeros(said["batch"], 3, *said["size"])
    fused = method(said["classes"], cls=Given, cam_scales=scales).class_maps(stub, blank)
    got = {"network/cam": cam, "network/cam_aux": cam_aux, "fusion/cam": fused[0], "fusion/cam_aux": fused[1]}
    got |= {"fusion/asked_sizes": np.array(stub.sizes), "fusion/asked_batch": np.array(stub.batches)}
    case.check_all(cut(case, got))
    # the stage `cam` asks image by image, and keeps the classes that are given
    for image, want in zip(given["network/image"], cam, strict=True):
        pixels = image.permute(1, 2, 0).numpy()
        scores = m.scores(model, pixels, tuple(range(network["classes"])), InferSettings(scales=scales, flip=True))
        np.testing.assert_allclose(scores.scores, want, atol=1e-5)
        one = m.scores(model, pixels, (1,), InferSettings(scales=scales, flip=True))
        np.testing.assert_array_equal(one.scores[0], scores.scores[1])


@golden("toco_infer_merge")
def test_merged_logits(case: Case) -> None:
    a, given = case.arguments, tensors(case)
    image = np.zeros((*a["size"], 3), np.uint8)
    got: dict[str, Any] = {}
    for which in ("voc", "coco"):
        options = loading.load(f"toco_{which}").section("train-cls").method.options
        infer = loading.load(f"toco_{which}").section("eval").infer
        assert infer.scales == tuple(a[f"{which}_scales"]) and infer.flip
        merging = {key: options.get(key) for key in ("flip_merge", "scale_merge", "test_size")}
        assert merging["test_size"] == (a["coco_input"] if which == "coco" else None)
        stub = Recorded(*(given[f"{which}/logits_scale{n}"] for n in range(len(infer.scales))))
        logits = method(given["label"].numel(), **merging).logits(stub, image, infer)
        got |= {f"{which}/logits": logits, f"{which}/prob": probabilities(logits)}
        got |= {f"{which}/pred": mask_from_scores(logits), f"{which}/asked_sizes": np.array(stub.sizes)}
    scales = tuple(a["seg_as_cam_scales"])
    stub = Recorded(*(given[f"seg_as_cam/logits_scale{n}"] for n in range(len(scales))))
    labels = tuple(given["label"].nonzero()[:, 0].tolist())
    m = method(given["label"].numel(), maps="segmentation")
    scores = m.scores(stub, image, labels, InferSettings(scales=scales, flip=True))
    got |= {"seg_as_cam/keys": scores.classes, "seg_as_cam/score": scores.scores}
    case.check_all(cut(case, got | {"seg_as_cam/asked_sizes": np.array(stub.sizes)}))


@golden("toco_crf")
def test_crf(case: Case) -> None:
    a, given = case.arguments, case.inputs

    def values(said: dict[str, Any]) -> dict[str, Any]:
        gaussian, bilateral = said["gaussian"], said["bilateral"]
        widths = {"gaussian_sxy": gaussian["sxy"]}
        widths |= {"bilateral_sxy": bilateral["sxy"], "bilateral_srgb": bilateral["srgb"]}
        weights = {"gaussian_weight": gaussian["compat"], "bilateral_weight": bilateral["compat"]}
        return {name: float(v) for name, v in (widths | weights).items()} | {"iterations": said["iterations"]}

    logits = np.log(given["probs"])
    q = crf_scores(logits, given["image"], MaskCrfSettings(preset="toco", **values(a["test"])))
    np.testing.assert_array_equal(q, crf_scores(logits, given["image"], MaskCrfSettings(preset="toco")))
    said = a["pseudo"]
    background = BackgroundSettings(low=said["bkg_thre_l"], high=said["bkg_thre_h"])
    scores = ScoreMap("", given["keys"].astype(np.int64), given["cam"], given["image"].shape[:2])
    masks = [
        pseudo_mask(scores, PseudoSettings(background=background, crf=crf), given["image"])
        for crf in (MaskCrfSettings(preset="toco_cam", **values(said)), MaskCrfSettings(preset="toco_cam"))
    ]
    np.testing.assert_array_equal(*masks)
    case.check("test/q", q[:, ::2, ::2])
    case.check("test/argmax", mask_from_scores(q))
    case.check("pseudo/label", masks[0])
    assert case.checked == set(case.outputs)


def test_two_backgrounds_leave_out_what_lies_between() -> None:
    scores = ScoreMap("", np.array([2]), np.array([[[0.1, 0.5, 0.9]]], np.float32), (1, 3))
    section = PseudoSettings(background=BackgroundSettings(low=0.25, high=0.7))
    assert pseudo_mask(scores, section).tolist() == [[0, 255, 3]]
    nothing = ScoreMap("", np.zeros(0, np.int64), np.zeros((0, 1, 3), np.float32), (1, 3))
    assert pseudo_mask(nothing, section).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize("size", [(7, 5), (3, 40), (16, 16), (33, 47)])
def test_images_of_any_size(size: tuple[int, int]) -> None:
    network = {**TINY, "img_size": 32, "patch_size": 16}
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    infer = InferSettings(scales=(0.5, 1.0), flip=True)
    for maps in ("cam", "segmentation"):
        m = method(3, network, maps=maps)
        model = m.build_model().eval()
        with torch.inference_mode():
            scores = m.scores(model, image, (0, 2), infer)
            assert scores.scores.shape == (2, *size) and 0 <= scores.scores.min() <= scores.scores.max() <= 1
            assert m.logits(model, image, infer).shape == (4, *size)
            assert m.network(model)(torch.zeros(1, 3, *size)).shape == (1, 4, *size)


def test_classes_are_those_whose_score_is_high_enough() -> None:
    m = method(3, cls=ToCo)
    model = m.build_model().eval()
    sees(model, torch.ones(1, TINY["width"], 2, 2))
    with torch.no_grad():
        for row, value in zip(model.classifier.weight, (1.0, -1.0, 2.0), strict=True):
            row.fill_(value)
        scores = m.scores(model, np.zeros((8, 8, 3), np.uint8), None, InferSettings())
    assert scores.classes.tolist() == [0, 2]


def test_masks_are_learnt_from_the_maps_that_are_due() -> None:
    m = method(2, cls=Given, local_size=2, final_after=5)
    maps = (torch.rand(1, 2, 8, 8), torch.rand(1, 2, 8, 8))
    m.given = {"class_maps": maps}
    model = m.build_model()
    model.decoder = Fixed(torch.zeros(1, 3, 2, 2))
    for number, used in ((5, 1), (6, 0)):
        step(m, model, a_batch(1, 2, (8, 8)), number)
        assert torch.equal(m.kept["refined_from"], maps[used])
