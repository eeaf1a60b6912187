from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import Case, golden, kept_results, noted
from toco_cases import UNWEIGHTED, Fixed, Given, a_batch, method, sees, step, tensors
from torch import Tensor
from wsseg_toco import loss
from wsseg_toco import method as room
from wsseg_toco.loss import class_contrast
from wsseg_toco.method import ToCo

from wsseg_cli.types import Progress


def gradient(value: Tensor, given: Tensor) -> Tensor:
    (found,) = torch.autograd.grad(value, given)
    return found


@golden("toco_ptc_loss")
def test_patch_contrast(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    given = tensors(case)
    affinities = kept_results(monkeypatch, room, "affinity")
    images, width, *grid = given["feature_map"].shape
    for name in ("mixed", "ignored", "one_class"):
        m = method(2, cls=Given, local_size=2, **UNWEIGHTED)
        model = m.build_model()
        maps = given["feature_map"].clone().requires_grad_()
        model.decoder = Fixed(torch.zeros(images, 3, *grid))
        for part in ("classifier", "aux_classifier"):
            setattr(model, part, torch.nn.Conv2d(width, 2, 1, bias=False))
        sees(model, maps)
        m.given = {"token_labels": given[f"{name}/label"].long()}
        m.given["projections"] = (torch.zeros(10 * images, 3), torch.zeros(2 * images, 3))
        value = step(m, model, a_batch(images, 2, (8, 8)))["ptc"]
        pairs = affinities[-1]
        got = {"loss": value, "grad_feature_map": gradient(value, maps)}
        got["pairs"] = np.array([int((pairs == value).sum()) for value in (1, 0)])
        if name == "mixed":
            got["affinity"] = pairs
        for output, array in got.items():
            case.check(f"{name}/{output}", array)
    assert case.checked == set(case.outputs)


@golden("toco_ctc_loss")
def test_class_contrast(case: Case) -> None:
    given = tensors(case)
    positive = given["flags"]
    images, views = positive.shape
    assert views == case.arguments["ncrops"]
    for temperature in case.arguments["temps"]:
        m = method(2, cls=Given, local_size=2, local_crops=views - 2, temperature=temperature, **UNWEIGHTED)
        student = given["student"].clone().requires_grad_()
        model = m.build_model()
        model.proj_head, model.proj_head_t = Fixed(student), Fixed(given["teacher"])
        m.given = {"local_crops": (torch.zeros(views - 2, images, 3, 2, 2), positive)}
        value = step(m, model, a_batch(images, 2, (8, 8)))["ctc"]
        case.check(f"temp{temperature}/loss", value)
        case.check(f"temp{temperature}/grad_student", gradient(value, student))
    assert case.checked == set(case.outputs)


@golden("toco_ctc_head")
def test_projection_heads(case: Case) -> None:
    a, given = case.arguments, tensors(case)
    sizes = (a["hidden"], a["bottleneck"], a["out_dim"])
    network = {"width": a["in_dim"], "depth": 1, "heads": 1, "mlp_ratio": 1.0, "img_size": 4, "patch_size": 1}
    m = method(
        2,
        {**network, "qkv_bias": True, "projection": sizes},
        cls=Given,
        teacher_momentum=a["momentum"],
        **{"local_size": 2, "local_crops": 1},
    )
    model = m.build_model()
    model.load_state_dict(case.state_dict(), strict=False)
    assert set(case.state_dict()) == {n for n in model.state_dict() if n.startswith("proj_head")}
    tokens = given["token"].clone().requires_grad_()
    count = len(tokens)
    sees(model, tokens[:, :, None, None])  # an image of one patch, whatever the view

    def projected() -> tuple[Tensor, Tensor]:
        step(m, model, a_batch(count, 2, (8, 8)))
        return m.kept["projections"]

    channels = a["slices"]["student"]["channel_step"]
    student, _ = projected()
    (student[:count] * given["weight_of_output"]).sum().backward()
    case.check("student", student[:count, ::channels])
    case.check("grad_token", tokens.grad)
    head = dict(model.proj_head.named_parameters())
    assert head["last_layer.weight_g"].grad is None
    for name in [output.removeprefix("grad/") for output in case.outputs if output.startswith("grad/")]:
        found = head[name].grad
        assert found is not None
        case.check(f"grad/{name}", found[: len(case.outputs[f"grad/{name}"])])
    done = 0
    for updates in (0, *a["updates"]):
        for _ in range(updates - done):
            m.after_step(model, Progress(done, 10, 0))
        done = updates
        _, teacher = projected()
        channels = a["slices"][f"teacher_after{updates}"]["channel_step"]
        case.check(f"teacher_after{updates}", teacher[:count, ::channels])
    rows, columns = case.outputs["teacher_weight"].shape
    case.check("teacher_weight", model.proj_head_t.mlp[2].weight[:rows, :columns])
    assert case.checked == set(case.outputs)


def masks_and_logits(case: Case, mask: Tensor, **more: Any) -> tuple[Any, Any, Any, Tensor]:
    """Return method, network, batch and logits of a step whose masks and low-resolution logits are given."""
    logits = tensors(case)["logits"].clone().requires_grad_()
    images, channels, *grid = logits.shape
    m = method(channels - 1, cls=Given, local_size=2, **UNWEIGHTED, **more)
    model = m.build_model()
    sees(model, torch.randn(images, model.classifier.in_channels, *grid))
    model.decoder = Fixed(logits)
    m.given = {"refined_labels": mask, "local_crops": (torch.zeros(8, images, 3, 2, 2), torch.ones(images, 10))}
    return m, model, a_batch(images, channels - 1, (int(mask.shape[1]), int(mask.shape[2]))), logits


@golden("toco_seg_loss")
def test_mask_loss(case: Case) -> None:
    given = tensors(case)
    for name, mask in (("mixed", "label"), ("no_foreground", "no_foreground"), ("all_ignored", "all_ignored")):
        m, model, batch, logits = masks_and_logits(case, given[mask].long())
        value = step(m, model, batch)["seg"]
        for output, array in (("loss", value), ("grad_logits", gradient(value, logits))):
            case.check(f"safe/{name}/{output}", array)
            if name == "mixed":
                case.check(output, array)
    assert case.checked == set(case.outputs)


@golden("toco_energy_loss")
def test_energy(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    a, given = case.arguments, tensors(case)
    kept: dict[str, Tensor] = {}

    def smoothed(values: Tensor, pixels: Tensor, **widths: float) -> Tensor:
        kept.update(scaled_prob=values, scaled_image=pixels, filtered=original(values, pixels, **widths))
        noted(kept)
        return kept["filtered"]

    original = loss.smoothed
    monkeypatch.setattr(loss, "smoothed", smoothed)
    m, model, batch, logits = masks_and_logits(
        case,
        given["label"].long(),
        energy_weight=a["weight"],
        energy_srgb=float(a["sigma_rgb"]),
        energy_sxy=float(a["sigma_xy"]),
    )
    assert a["scale_factor"] == 0.5
    enlarged: list[Tensor] = []

    def energy(probabilities: Tensor, *rest: Any) -> Tensor:
        enlarged.append(probabilities)
        return ToCo.energy(m, probabilities, *rest)

    m.energy = energy
    batch |= {"image": given["image"], "box": given["box"]}
    energies = step(m, model, batch)["reg"]
    # the gradient by the resized logits is the one by their softmax, through the softmax
    (by_probability,) = torch.autograd.grad(energies, enlarged[0], retain_graph=True)
    p = enlarged[0].detach()
    by_logits = p * (by_probability - (by_probability * p).sum(1, keepdim=True))
    got = {"loss": energies, "grad_logits": gradient(energies, logits), "grad_full": by_logits, **kept}
    for name, said in a["slices"].items():
        rows, columns = said["step"]
        got[name] = got[name][..., ::rows, ::columns]
    case.check_all(got)


def test_products_of_any_size_give_finite_contrast() -> None:
    large = class_contrast(torch.full((4, 8), 30.0), torch.full((2, 8), 30.0), torch.tensor([[1.0, 1, 1, 0]]), 0.1)
    assert torch.isfinite(large)


def test_groups_of_images_have_means_of_their_own() -> None:
    torch.manual_seed(0)
    batch = {**a_batch(4, 2, (8, 8)), "image": torch.randn(4, 3, 8, 8)}
    torch.manual_seed(1)
    model = method(2).build_model()
    masks = torch.randint(0, 3, (4, 8, 8))

    def losses(size: int | None, part: slice = slice(None)) -> Any:
        m = method(2, cls=Given, local_size=2, images_per_group=size, **UNWEIGHTED)
        cut = {name: value[part] for name, value in batch.items()}
        m.given = {"refined_labels": masks[part]}
        return step(m, model, cut)

    halves = [losses(None, slice(0, 2)), losses(None, slice(2, 4))]
    for name in ("ptc", "seg"):
        joined = torch.stack([half[name] for half in halves]).mean()
        torch.testing.assert_close(losses(2)[name], joined)
    assert not torch.allclose(losses(None)["seg"], losses(2)["seg"])


def test_step_without_a_mask_pixel_is_finite() -> None:
    m = method(2, cls=Given, local_size=2, **UNWEIGHTED)
    m.given = {"refined_labels": torch.full((1, 8, 8), 255)}
    losses = step(m, m.build_model(), a_batch(1, 2, (8, 8)))
    assert all(bool(torch.isfinite(value)) for value in losses.values()) and not bool(losses["seg"].detach())
