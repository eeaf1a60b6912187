from __future__ import annotations

import numpy as np
import torch
from fill import fill_array
from golden_cases import Case, golden
from wsseg_seam.net import SeamNet
from wsseg_seam.pcm import correlation_features, normalized_cams, resized, revised_cams

from wsseg_cli import nets
from wsseg_cli.nets import weights


def loaded(case: Case) -> SeamNet:
    tensors = weights.rename(case.state_dict(), "seam")
    model = SeamNet(nets.backbone("resnet38"), len(tensors["fc8.weight"]) - 1).eval()
    model.load_state_dict(tensors)
    return model


def cut(case: Case, name: str, value: torch.Tensor) -> torch.Tensor:
    rule = case.arguments["slices"][name]
    if "channel_step" in rule:
        return value[:, :: rule["channel_step"]]
    rows, columns = rule["step"]
    return value[..., ::rows, ::columns]


@golden("seam_forward")
@torch.no_grad()
def test_forward(case: Case) -> None:
    model = loaded(case)
    images = torch.from_numpy(case.inputs["x"])
    maps = model(images)
    size = (images.shape[2], images.shape[3])
    cams, revised = resized(maps.cams, size), resized(maps.revised, size)
    features = correlation_features(images, model.backbone(images), model.f8_3, model.f8_4, tuple(maps.cams.shape[2:]))
    case.check_all(
        {
            "fc8_lowres": maps.cams,
            "cam_slice": cut(case, "cam_slice", cams),
            "cam_rv_slice": cut(case, "cam_rv_slice", revised),
            "cam_norm_lowres": normalized_cams(maps.cams),
            "pcm_feature_slice": cut(case, "pcm_feature_slice", features),
            "cam_rv_lowres": maps.revised,
            "cam_channel_mean": cams.mean((2, 3)),
            "cam_rv_channel_mean": revised.mean((2, 3)),
            "cam_size": np.array(cams.shape),
        }
    )


@golden("seam_pcm")
def test_pixel_correlation(case: Case) -> None:
    rows, columns = case.arguments["slices"]["grad_f9_slice"]["step"]
    got = {}
    for prefix in ("", "b/"):
        weight = torch.from_numpy(fill_array("f9.weight", tuple(case.arguments["f9_shape"]))).requires_grad_()
        np.testing.assert_array_equal(weight.detach()[0].flatten(), case.inputs["f9_weight_row0"])
        cams = torch.from_numpy(case.inputs["cam"]).requires_grad_()
        features = torch.from_numpy(case.inputs[f"{prefix}f"]).requires_grad_()
        revised = revised_cams(cams, torch.nn.functional.conv2d(features, weight))
        (revised * torch.from_numpy(case.inputs["grad_out"])).sum().backward()
        got |= {
            f"{prefix}cam_rv": revised,
            f"{prefix}grad_cam": cams.grad,
            f"{prefix}grad_f": features.grad,
            f"{prefix}grad_f9_slice": weight.grad[::rows, ::columns, 0, 0],
        }
    got["norm/cam_norm"] = normalized_cams(torch.from_numpy(case.inputs["norm/cam"]))
    case.check_all(got)


def test_blocks_change_no_number() -> None:
    cams = torch.rand(2, 4, 5, 7)
    results = []
    for block in (1024, 8):
        embedding = torch.linspace(-1, 1, 2 * 6 * 35).sin().view(2, 6, 5, 7).mul(3).requires_grad_()
        revised = revised_cams(cams, embedding, block)
        revised.square().sum().backward()
        results.append((revised.detach(), embedding.grad))
    torch.testing.assert_close(results[0], results[1])


def test_background_last() -> None:
    cams = torch.randn(2, 4, 5, 6)
    first = normalized_cams(cams)
    last = normalized_cams(cams.roll(-1, 1), -1)
    torch.testing.assert_close(last.roll(1, 1), first)


def test_backbone_learns_from_raw_maps_only() -> None:
    model = SeamNet(nets.backbone("resnet38", width=2), 3)
    maps = model(torch.randn(1, 3, 40, 40))
    maps.revised.sum().backward()
    assert model.f9.weight.grad is not None
    assert all(p.grad is None for p in model.backbone.parameters())
    assert model.fc8.weight.grad is None


def test_backbones_of_other_strides() -> None:
    model = SeamNet(nets.backbone("small"), 3).eval()
    assert model(torch.randn(1, 3, 33, 41)).revised.shape[1:] == (4, 5, 6)
    finer = {"conv4": torch.rand(1, 8, 12, 12), "conv5": torch.rand(1, 8, 6, 6)}
    f8_3, f8_4 = torch.nn.Conv2d(8, 64, 1), torch.nn.Conv2d(8, 128, 1)
    assert correlation_features(torch.rand(1, 3, 96, 96), finer, f8_3, f8_4, (6, 6)).shape == (1, 195, 6, 6)
