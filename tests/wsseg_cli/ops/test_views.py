"""Views of an image and their merging."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from torch import nn

from wsseg_cli.ops.crf_pixels import restored_pixels
from wsseg_cli.ops.views import merge_views, multi_scale_logits, view_batches
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import IMAGENET


@golden("psa_msf_images")
def test_views_of_psa(case: Case) -> None:
    infer = InferSettings(scales=tuple(map(float, case.arguments["scales"])), flip=True)
    got = {}
    for i, batch in enumerate(view_batches(case.inputs["image"], infer, IMAGENET)):
        got[f"scale{i}_sub"] = batch[0, :, ::3, ::3]
        got[f"scale{i}_flip_sub"] = batch[1, :, ::3, ::3]
        got[f"shape{i}"] = np.array(batch[:1].shape)
    case.check_all(got)


@golden("seg_wseg_multiscale_merge")
def test_merge_of_logits(case: Case) -> None:
    scales = tuple(case.arguments["scales"])
    infer = InferSettings(scales=scales, flip=case.arguments["flip"])
    image = case.inputs["image"]
    views = list(view_batches(image, infer, IMAGENET, "opencv_cubic"))
    given = iter([torch.from_numpy(case.inputs[f"logits_{i}"]) for i in range(2 * len(scales))])
    logits = multi_scale_logits(
        nn.Identity(), image, infer, normalization=IMAGENET, forward=lambda _: torch.cat([next(given), next(given)])
    )
    got = {
        "argmax": logits.argmax(0).astype(case.outputs["argmax"].dtype),
        "prob": torch.from_numpy(logits).softmax(0),
        "crf_image_chw": restored_pixels(image, IMAGENET, "float32").transpose(2, 0, 1),
        "input_shapes": np.array([v.shape[2:] for pair in views for v in (pair, pair)]),
    }
    for scale, pair in zip(scales, views, strict=True):
        got[f"input_{scale:g}"] = pair[0, :, ::3, ::3]
    case.check_all(got)


def test_flip_comes_back() -> None:
    torch.manual_seed(0)
    maps = torch.randn(1, 3, 5, 7)
    merged = merge_views([torch.cat([maps, maps.flip(-1)])], (5, 7))
    assert torch.equal(merged, 2 * maps[0])
    assert torch.equal(merge_views([torch.cat([maps, maps.flip(-1)])], (5, 7), rule="mean"), maps[0])


@pytest.mark.parametrize("merge", ["mean_logits", "mean_probabilities", "max_logits"])
def test_every_rule_agrees_on_one_view(merge: str) -> None:
    torch.manual_seed(0)
    model = nn.Conv2d(3, 4, 1)
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3), dtype=np.uint8)
    logits = multi_scale_logits(model, image, InferSettings(), normalization=IMAGENET, merge=merge)
    with torch.no_grad():
        want = model(torch.from_numpy(IMAGENET.apply(image)).permute(2, 0, 1)[None])[0]
    assert np.allclose(torch.from_numpy(logits).softmax(0), want.softmax(0), atol=1e-6)


def test_max_takes_the_highest_view() -> None:
    given = iter([torch.zeros(2, 1, 2, 2), torch.tensor([[0.0, 5.0]]).expand(2, 1, 2, 2)])
    logits = multi_scale_logits(
        nn.Identity(),
        np.zeros((2, 2, 3), np.uint8),
        InferSettings(scales=(1.0, 2.0), flip=True),
        normalization=IMAGENET,
        forward=lambda _: next(given),
        merge="max_logits",
    )
    assert (logits == 5).all()


def test_truncated_sizes_of_tensor_views() -> None:
    image = np.zeros((33, 41, 3), np.uint8)
    infer = InferSettings(scales=(1.0, 0.5), flip=False)
    shapes = [tuple(v.shape) for v in view_batches(image, infer, IMAGENET, "tensor_bilinear")]
    assert shapes == [(1, 3, 33, 41), (1, 3, 16, 20)]
