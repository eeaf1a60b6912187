from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from published import picture_norm
from wsseg_seam.channels import Background, foreground, known_labels, remaining_background, strongest_class
from wsseg_seam.loss import (
    SeamView,
    classification,
    equivariance,
    min_pooling,
    revised_min_pooling,
    seam_losses,
    seam_views,
)
from wsseg_seam.method import SEAM, view_size
from wsseg_seam.net import SeamMaps, SeamNet
from wsseg_seam.pcm import resized

from wsseg_cli import nets
from wsseg_cli.errors import TrainingError
from wsseg_cli.nets import weights
from wsseg_cli.ops.cam import min_max_norm, rectified_min_max_norm
from wsseg_cli.ops.views import merge_views, view_batches
from wsseg_cli.settings import InferSettings, OptimSettings
from wsseg_cli.types import ClassNames, Progress

CLASSES = ClassNames(["cat", "dog", "cow"])


def seam(**options: Any) -> SEAM:
    return SEAM(SEAM.Options(backbone="resnet38", backbone_options={"width": 2}, **options), CLASSES)


@golden("seam_losses")
def test_losses(case: Case) -> None:
    lows = {name: torch.from_numpy(case.inputs[f"{name}_lowres"]).requires_grad_() for name in ("cam1", "cam2")}
    lows |= {name: torch.from_numpy(case.inputs[f"{name}_lowres"]).requires_grad_() for name in ("rv1", "rv2")}
    images, labels = torch.from_numpy(case.inputs["img1"]), torch.from_numpy(case.inputs["label"]).float()
    size = view_size((images.shape[2], images.shape[3]), case.arguments["scale_factor"])
    top = case.arguments["topk_fraction"]
    given = iter((SeamMaps(lows["cam1"], lows["rv1"], images), SeamMaps(lows["cam2"], lows["rv2"], images)))
    losses, (first, second) = seam_views(lambda _: next(given), images, labels, size, top=top)
    loss = sum(losses.values())
    loss.backward()
    er, ecr = equivariance(first.cams, first.revised, second.cams, second.revised, labels, top=top)
    rows, columns = case.arguments["slices"]["img2_slice"]["step"]
    got = {f"loss_cls{i}": classification(v.cams, labels) for i, v in enumerate((first, second), 1)}
    got |= {f"loss_rvmin{i}": revised_min_pooling(v.revised, labels) for i, v in enumerate((first, second), 1)}
    got |= {f"grad_{name}": low.grad for name, low in lows.items()}
    case.check_all(
        got
        | {
            "loss": loss,
            "loss_cls": losses["cls"] + losses["rvmin"],
            "loss_er": er,
            "loss_ecr": losses["ecr"],
            "loss_ecr1": ecr[0],
            "loss_ecr2": ecr[1],
            "view2_size": np.array(second.images.shape[2:]),
            "topk_k": np.array(int(second.cams[0].numel() * top)),
            "img2_slice": second.images[:, :, ::rows, ::columns],
        }
    )


@golden("seam_loss_helpers")
def test_loss_parts(case: Case) -> None:
    maps = torch.from_numpy(case.inputs["p"])
    shifted = [min_pooling(maps - shift) for shift in case.inputs["shifts"].tolist()]
    case.check_all(
        {
            "max_norm_4d": rectified_min_max_norm(maps),
            "max_norm_3d": rectified_min_max_norm(maps[0]),
            "max_norm_numpy": picture_norm(maps[0]),
            "adaptive_min_pooling": min_pooling(maps),
            "max_onehot": strongest_class(maps),
            "adaptive_min_pooling_shifted": torch.stack(shifted),
        }
    )


@golden("seam_infer")
@torch.no_grad()
def test_inference(case: Case) -> None:
    tensors = weights.rename(case.state_dict(), "seam")
    model = SeamNet(nets.backbone("resnet38"), len(tensors["fc8.weight"]) - 1).eval()
    model.load_state_dict(tensors)
    image, label = case.inputs["image"], case.inputs["label"]
    labels = tuple(np.flatnonzero(label > 1e-5).tolist())
    infer = InferSettings(scales=tuple(case.arguments["scales"]), flip=True)
    method = SEAM(SEAM.Options(), ClassNames(map(str, range(len(label)))))
    scores = method.scores(model, image, labels, infer)

    keep = [c + 1 for c in labels]
    batches = view_batches(image, infer, model.normalization)
    maps = (resized(model(views).revised[:, keep], tuple(views.shape[2:])) for views in batches)
    fused = min_max_norm(merge_views(maps, image.shape[:2]))
    np.testing.assert_allclose(scores.scores, fused.clamp(0, 1), atol=1e-4)  # sums in another order
    with_background = scores.full(case.arguments["out_cam_pred_alpha"])
    pred = np.concatenate([[0], scores.classes + 1])[with_background.argmax(0)]
    wanted = {name: case.outputs[name].dtype for name in ("classes", "pred")}
    case.check_all(
        {"classes": scores.classes.astype(wanted["classes"]), "norm_cam": fused, "pred": pred.astype(wanted["pred"])}
    )


def test_first_view_has_two_sizes_of_one_image() -> None:
    method = seam()
    model = method.build_model()
    batch = {"image": torch.randn(2, 3, 40, 48), "label": torch.tensor([[1.0, 0, 0], [0, 1, 1]])}
    losses = method.training_step(model, batch, Progress(0, 10, 0))
    assert list(losses) == ["cls", "rvmin", "er", "ecr"]
    sum(losses.values()).backward()
    learning = [p for p in model.parameters() if p.requires_grad]
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in learning)
    assert model.fc8.weight.grad[0].count_nonzero() == 0  # nothing teaches the channel of background


def test_background_last_gives_the_same_losses() -> None:
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]])
    sizes = ((12, 12), (12, 12), (6, 6), (6, 6))
    maps = [torch.randn(2, 4, *size) for size in sizes]
    first = equivariance(*maps, labels, top=1.0)
    last = equivariance(*(m.roll(-1, 1) for m in maps), labels, top=1.0, background=-1)
    torch.testing.assert_close(first, last)
    spared = equivariance(*(m.roll(-1, 1) for m in maps), labels, top=1.0, background=-1, spared=0)
    assert not torch.allclose(last[1][0], spared[1][0])


@pytest.mark.parametrize(("background", "spared"), [(0, 0), (-1, -1), (-1, 0)])
def test_absent_classes_are_not_computed_and_change_nothing(background: Background, spared: Background) -> None:
    torch.manual_seed(0)
    labels = torch.zeros(3, 9)
    labels[0, [2, 5]] = labels[1, 0] = 1  # the third image has no class at all
    maps = [torch.randn(3, 10, side, side) for side in (12, 12, 6, 6)]
    known = known_labels(labels, background)
    c1, r1 = (resized(rectified_min_max_norm(m), (6, 6)) * known for m in maps[:2])
    c2, r2 = (rectified_min_max_norm(m) * known for m in maps[2:])
    t1, t2 = (strongest_class(remaining_background(c, background), spared) for c in (c1, c2))
    largest = [(t - r).abs().flatten(1).topk(int(360 * 0.7), dim=1).values.mean() for t, r in ((t2, r1), (t1, r2))]
    er, ecr = equivariance(*maps, labels, top=0.7, background=background, spared=spared)
    torch.testing.assert_close(er, (foreground(c1, background) - foreground(c2, background)).abs().mean())
    torch.testing.assert_close(ecr, tuple(largest))
    wanted = min_pooling(foreground(maps[1] * known, background))
    torch.testing.assert_close(revised_min_pooling(maps[1], labels, background=background), wanted)


def test_losses_are_means_over_images() -> None:
    labels = torch.tensor([[1.0, 0, 1], [0, 1, 0]])

    def views(keep: slice) -> tuple[SeamView, SeamView]:
        torch.manual_seed(0)
        made = []
        for side in (12, 6):
            maps, revised = torch.randn(2, 4, side, side), torch.rand(2, 4, side, side)
            made.append(
                SeamView(maps[keep], maps[keep], revised[keep], SeamMaps(maps[keep], revised[keep], maps[keep]))
            )
        return made[0], made[1]

    whole = seam_losses(*views(slice(0, 2)), labels, pool=0.25, top=0.2)
    parts = [seam_losses(*views(slice(i, i + 1)), labels[i : i + 1], pool=0.25, top=0.2) for i in range(2)]
    for name, value in whole.items():
        torch.testing.assert_close(value, (parts[0][name] + parts[1][name]) / 2)


def test_scores_with_labels_predicted_and_without() -> None:
    method = seam(class_threshold=0.0)
    model = method.build_model().eval()
    image = np.random.default_rng(0).integers(0, 256, (33, 41, 3), dtype=np.uint8)
    infer = InferSettings(scales=(1.0, 0.5), flip=True)
    given = method.scores(model, image, (0, 1, 2), infer)
    predicted = method.scores(model, image, None, infer)
    np.testing.assert_array_equal(predicted.classes, given.classes)
    np.testing.assert_allclose(predicted.scores, given.scores, atol=1e-6)
    assert given.scores.min() >= 0 and given.scores.max() <= 1 and given.scores.shape == (3, 33, 41)
    assert len(method.scores(model, image, (), infer).classes) == 0


def test_groups_and_their_rates() -> None:
    method = seam(lr_multipliers=(1, 2, 5, 10))
    model = method.build_model()
    groups = method.param_groups(model, OptimSettings(lr=0.1))
    assert [len(g["params"]) for g in groups[1:]] == [0, 4, 0]
    assert groups[2]["lr"] == pytest.approx(0.5)


def test_crop_without_a_second_view() -> None:
    with pytest.raises(TrainingError, match="3x3"):
        view_size((3, 3), 0.3)
    assert view_size((448, 448), 0.3) == (134, 134)
