"""EPS: network, losses and inference against the published code; saliency that is missing, masked or misshapen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from PIL import Image
from wsseg_eps.loss import cells_inside, explain, saliency_loss, salient_share, shrunken
from wsseg_eps.method import EPS, eps_losses, softmax_scores
from wsseg_eps.net import EpsNet
from wsseg_eps.sizes import require_image_sizes

from wsseg_cli import nets
from wsseg_cli.errors import DataError
from wsseg_cli.nets import weights
from wsseg_cli.settings import AugmentSettings, InferSettings
from wsseg_cli.types import ClassNames, Progress, Sample

CLASSES = ClassNames(["a", "b", "c"])


def published(case: Case, num_classes: int) -> EpsNet:
    net = EpsNet(nets.backbone("resnet38"), num_classes).eval()
    net.load_state_dict(weights.rename(case.state_dict(), "eps"), strict=True)
    return net


@pytest.mark.slow
@golden("eps_forward")
def test_network(case: Case) -> None:
    net = published(case, case.arguments["num_classes"] - 1)
    with torch.no_grad():
        maps = net(torch.from_numpy(case.inputs["x"]))
    case.check_all({"cam": maps, "pred": maps.mean((2, 3))})


@golden("eps_loss")
def test_saliency_loss(case: Case) -> None:
    for name, setting in case.arguments.items():
        given = {key: torch.from_numpy(case.inputs[f"{name}/{key}"]) for key in ("cam", "saliency", "label")}
        maps = given["cam"].requires_grad_()
        taken = {"lam": setting["lam"], "tau": setting["tau"]}
        loss = saliency_loss(maps, given["saliency"], given["label"], **taken)
        (grad,) = torch.autograd.grad(loss, maps)
        small = shrunken(given["saliency"], maps.shape[2:])
        explained = explain(maps, small, given["label"], **taken)
        got = {
            "loss": loss,
            "grad_cam": grad,
            "fg_map": explained.foreground,
            "bg_map": explained.background,
            "sal_pred": explained.saliency,
            "ratio": explained.overlap,
            "saliency_small": small,
        }
        for key, value in got.items():
            case.check(f"{name}/{key}", value)
        for key in [key for key in case.outputs if key.startswith(f"{name}/loss_at_tau")]:
            other = saliency_loss(
                maps, given["saliency"], given["label"], tau=float(key.split("tau")[-1]), lam=setting["lam"]
            )
            case.check(key, other)
    assert case.checked == set(case.outputs)


@golden("eps_train_step")
def test_training_step(case: Case) -> None:
    maps = torch.from_numpy(case.inputs["cam"]).requires_grad_()
    saliency, labels = (torch.from_numpy(case.inputs[key]) for key in ("saliency", "label"))
    losses = eps_losses(maps, saliency, labels, **case.arguments)
    total = losses["cls"] + losses["sal"]
    (grad,) = torch.autograd.grad(total, maps)
    case.check_all({"loss_cls": losses["cls"], "loss_sal": losses["sal"], "loss": total, "grad_cam": grad})


@pytest.mark.slow
@golden("eps_infer")
def test_inference(case: Case) -> None:
    net = published(case, len(case.inputs["label"]))
    labels = tuple(np.flatnonzero(case.inputs["label"]).tolist())
    scores = softmax_scores(
        net,
        case.inputs["image"],
        labels,
        InferSettings(scales=(0.5, 1.0, 1.5, 2.0), flip=True),
        normalization=net.normalization,
        class_threshold=0.5,
        forward=lambda views: net(views) / case.arguments["map_divisor"],
    )
    best = scores.full(case.arguments["thr"]).argmax(0)
    pred = np.concatenate([[0], scores.classes + 1])[best].astype(case.outputs["pred"].dtype)
    case.check_all({"classes": scores.classes, "norm_cam": scores.scores, "pred": pred})


def test_confident_area_is_one_pixel_of_many() -> None:
    # One confident pixel, salient: its share is 1 / (1 + hw * 1e-4).
    probabilities = torch.zeros(1, 1, 10, 10)
    probabilities[..., 3, 3] = 0.9
    assert salient_share(probabilities, torch.ones(1, 1, 10, 10)).item() == pytest.approx(1 / 1.01)


def test_any_label_but_zero_is_present() -> None:
    maps, saliency = torch.randn(1, 4, 3, 3), torch.rand(1, 1, 3, 3)
    soft = saliency_loss(maps, saliency, torch.tensor([[0.3, 0.0, 0.0]]))
    assert soft.equal(saliency_loss(maps, saliency, torch.tensor([[1.0, 0.0, 0.0]])))


def test_padding_is_left_out() -> None:
    boxes = torch.tensor([[2, 4, 8, 8], [0, 0, 8, 8]])
    inside = cells_inside(boxes, 8, (4, 4))
    assert inside[0, 0].nonzero().tolist() == [[r, c] for r in (2, 3) for c in (1, 2, 3)]
    assert inside[1].all()
    maps, saliency, labels = torch.randn(2, 4, 4, 4), torch.rand(2, 1, 8, 8), torch.ones(2, 3)
    loss = saliency_loss(maps, saliency, labels, inside=inside)
    cut = torch.zeros_like(saliency)
    cut[0, :, :4] = 5.0  # rows of the padding
    assert torch.allclose(loss, saliency_loss(maps, saliency + cut, labels, inside=inside))
    assert saliency_loss(maps, saliency, labels, inside=torch.ones_like(inside)).item() == pytest.approx(
        saliency_loss(maps, saliency, labels).item(), rel=1e-6
    )


def method(**options: Any) -> EPS:
    return EPS(EPS.Options(backbone="small", backbone_options={"width": 8}, **options), CLASSES)


def test_step_and_scores_on_a_small_backbone() -> None:
    eps = method(mask_padding=True, shrink="area")
    transform = eps.train_transform(AugmentSettings(resize_long=(40, 56), crop=48, flip=0.5))
    rng = np.random.default_rng(0)
    arrays = {
        "image": rng.integers(0, 256, (40, 60, 3), dtype=np.uint8),
        "saliency": rng.integers(0, 256, (20, 30), dtype=np.uint8),
        "label": np.array([1, 0, 1], np.float32),
    }
    tensors = transform(arrays, np.random.default_rng(1))
    assert tensors["saliency"].shape == (1, 48, 48)
    assert tensors["saliency"].min() >= 0 and tensors["saliency"].max() <= 1
    batch = {name: value[None] for name, value in tensors.items()}
    net = eps.build_model().train()
    losses = eps.training_step(net, batch, Progress(0, 1, 0))
    sum(losses.values()).backward()
    assert net.fc8.weight.grad is not None and net.fc8.weight.grad[-1].abs().sum() > 0
    infer = InferSettings(scales=(1.0,), flip=True)
    scores = eps.scores(net.eval(), arrays["image"], (0, 2), infer)
    assert scores.scores.shape == (2, 40, 60) and scores.classes.tolist() == [0, 2]
    assert len(eps.scores(net, arrays["image"], (), infer).classes) == 0
    assert eps.scores(net, arrays["image"], None, infer).size == (40, 60)


def sample_with(folder: Path, name: str, image: tuple[int, int], saliency: tuple[int, int], turn: int = 1) -> Sample:
    Image.new("RGB", image).save(folder / f"{name}.jpg")
    Image.new("L", saliency).save(folder / f"{name}.png")
    extras = {"saliency": folder / f"{name}.png"}
    return Sample(name, folder / f"{name}.jpg", (0,), extras=extras, orientation=turn)


def test_saliency_of_another_size_names_the_image(tmp_path: Path) -> None:
    good = sample_with(tmp_path, "good", (30, 20), (30, 20))
    turned = sample_with(tmp_path, "turned", (30, 20), (20, 30), turn=6)
    require_image_sizes([good, turned])
    bad = sample_with(tmp_path, "bad", (30, 20), (15, 10))
    with pytest.raises(DataError, match=r"1 of 3 .*\n.*'bad': 15x10, image 30x20\n.*resize_saliency"):
        require_image_sizes([good, turned, bad])


def test_training_refuses_other_sizes_unless_allowed(tmp_path: Path) -> None:
    from wsseg_cli.plugin.protocols import TrainingJob
    from wsseg_cli.settings import OptimSettings, TrainSettings

    settings = TrainSettings(weights="none", batch_size=1, max_steps=1, optim=OptimSettings(lr=0.1))
    bad = sample_with(tmp_path, "bad", (30, 20), (15, 10))
    stage = TrainingJob(tmp_path, [bad], CLASSES, settings)
    calls: list[Any] = []
    with pytest.raises(DataError, match="'bad'"):
        method().train(stage, lambda *given: calls.append(given))  # type: ignore[arg-type, return-value]
    method(resize_saliency=True).train(stage, lambda *given: calls.append(given))  # type: ignore[arg-type, return-value]
    assert len(calls) == 1
