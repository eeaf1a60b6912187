from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import Case, golden, kept_results, noted
from toco_cases import TINY, a_batch, filled, head_of, method, published, step, tensors
from wsseg_toco.method import ToCo
from wsseg_toco.net import ToCoNet

from wsseg_cli.engine.optim import build_optimizer, set_learning_rates, take_step
from wsseg_cli.errors import RecipeError
from wsseg_cli.recipe import loading
from wsseg_cli.settings import InferSettings, OptimSettings, ScheduleSettings
from wsseg_cli.types import ClassNames, Progress


def watched(model: ToCoNet) -> list[torch.Tensor]:
    """Return a list that collects what goes into the first block whenever the network runs."""
    kept: list[torch.Tensor] = []
    model.backbone.model.blocks[0].register_forward_pre_hook(lambda _, given: kept.append(noted(given[0])))
    return kept


def probed(case: Case, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return all that the network says of the case's image while a training step runs."""
    a = case.arguments
    few = {"local_size": a["patch_size"], "local_crops": 1, "cam_scales": (1.0,)}
    m = method(a["classes"], a, projection=head_of(case), **few)
    model = filled(m, case)
    images = torch.from_numpy(case.probe("image"))
    count, _, *size = images.shape
    embedded, seen = watched(model), kept_results(monkeypatch, model, "forward")
    maps, logits = (kept_results(monkeypatch, model, name) for name in ("raw_cams", "class_logits"))
    masks, projected = (kept_results(monkeypatch, part, "forward") for part in (model.decoder, model.proj_head))
    batch = a_batch(count, a["classes"], (size[0], size[1]))
    with torch.no_grad():
        step(m, model, batch | dict.fromkeys(("image", "view2", "local"), images))
    # the maps that the losses need come first, of the images and their flips
    token, final, middle = seen[1]
    rows = {f"{name}_tokens": one.flatten(2).transpose(1, 2) for name, one in (("patch", final), ("aux", middle))}
    cam, cam_aux = (one[:count] for one in maps[0])
    return {
        **rows,
        **{"embedded": embedded[1], "cls_token": token, "feature_map": final, "seg": masks[0]},
        **{"logits": logits[0][0], "logits_aux": logits[0][1], "cam": cam, "cam_aux": cam_aux},
        "projected": projected[0][:count],
    }


@golden("toco_encoder_probe")
def test_small_network(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.check_all(probed(case, monkeypatch))


@pytest.mark.slow
@golden("toco_vitb_probe")
def test_published_network(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    case.check_all(probed(case, monkeypatch))


@golden("toco_pos_embed")
@torch.no_grad()
def test_positions(case: Case) -> None:
    got = {}
    for key, said in case.arguments.items():
        positions = tensors(case)[f"{key}/pos_embed"]
        grid, width = said["grid"], positions.shape[2]
        m = method(2, {**TINY, "width": width, "img_size": 2 * grid, "patch_size": 2})
        model = m.build_model().eval()
        vit = model.backbone.model
        vit.pos_embed.copy_(positions)
        for part in (vit.cls_token, *vit.patch_embed.parameters()):
            part.zero_()
        kept = watched(model)
        for height, width in said["sizes"]:
            m.logits(model, np.zeros((2 * height, 2 * width, 3), np.uint8), InferSettings())
            got[f"{key}/{height}x{width}"] = kept.pop()
    case.check_all(got)


@golden("toco_param_groups")
def test_groups_of_the_optimiser(case: Case) -> None:
    a = case.arguments
    rows = {name: shape for name, shape, _ in json.loads((case.folder / "state_dict.json").read_text())}
    # the published encoder carries a classifier that nothing uses; ours has none
    unused = [name for name in rows if name.startswith("encoder.head.")]

    def grouped(network: dict[str, Any]) -> tuple[list[list[str]], list[int], dict[str, bool]]:
        m = method(network["classes"], network, projection=(2048, 256, 1024))
        with torch.device("meta"):
            model = m.build_model()
        names = {id(p): published(name) for name, p in model.named_parameters()}
        base = min(a["lr"])
        groups = m.param_groups(model, OptimSettings(name="adamw", lr=base, weight_decay=a["weight_decay"][0]))
        optimizer = build_optimizer(groups, OptimSettings(name="adamw", lr=base, weight_decay=a["weight_decay"][0]))
        assert [group["lr"] for group in optimizer.param_groups] == pytest.approx(a["lr"])
        assert [group["weight_decay"] for group in optimizer.param_groups] == a["weight_decay"]
        members = [[names[id(p)] for p in group["params"]] for group in optimizer.param_groups]
        counts = [sum(p.numel() for p in group["params"]) for group in optimizer.param_groups]
        learns = {names[id(p)]: p.requires_grad for p in model.parameters()}
        return members, counts, learns

    def elements(counts: list[int], width: int) -> np.ndarray:
        outputs = rows["encoder.head.bias"][0]
        return np.array([counts[0] + outputs * (width + 1), *counts[1:]])

    members, counts, learns = grouped(a["network"])
    members[0] += unused
    known = {name for group in members for name in group}
    sets = {f"group{n}": group for n, group in enumerate(members)}
    sets |= {"in_no_group": [n for n in rows if n not in known], "frozen": [n for n, on in learns.items() if not on]}
    for name, got in sets.items():
        case.check(name, np.array(sorted(got)), np.array(sorted(case.outputs[name].tolist())))
    case.check("elements", elements(counts, a["network"]["width"]))
    published_size = {"width": 768, "depth": 12, "heads": 12, "img_size": 224, "classes": 20}
    _, counts, _ = grouped({**a["network"], **published_size})
    case.check("elements_vitb_voc", elements(counts, published_size["width"]))
    assert case.checked == set(case.outputs)


def test_published_schedule_is_in_the_recipes() -> None:
    for name, steps in (("toco_voc", 20000), ("toco_coco", 80000)):
        section = loading.load(name).section("train-cls")
        assert section.optim == OptimSettings(name="adamw", lr=6e-5, weight_decay=0.01, betas=(0.9, 0.999))
        assert section.max_steps == steps
        assert section.schedule == ScheduleSettings(name="poly", power=0.9, warmup=1500, warmup_start=1e-6)


def rates(case: Case, which: str) -> np.ndarray:
    a = case.arguments
    schedule = ScheduleSettings(name="poly", power=a["power"], warmup=a["warmup_iter"], warmup_start=a["warmup_ratio"])
    optim = OptimSettings(name="adamw", lr=min(a["lr"]), weight_decay=a["weight_decay"], betas=tuple(a["betas"]))
    m = method(2, head_lr_multiplier=max(a["lr"]) / min(a["lr"]))
    optimizer = build_optimizer(m.param_groups(m.build_model(), optim), optim)
    rows = []
    for number in case.inputs[f"{which}/step"].tolist():
        set_learning_rates(optimizer, schedule, Progress(number, a[which]["max_iter"], 0))
        rows.append([group["lr"] for group in optimizer.param_groups])
    return np.array(rows)


def adamw(case: Case) -> np.ndarray:
    a, given = case.arguments["adamw"], tensors(case)
    parameters = [torch.nn.Parameter(row.clone()) for row in given["adamw/params"]]
    groups = [{"params": [p], "lr": lr} for p, lr in zip(parameters, a["lr"], strict=True)]
    settings = OptimSettings(name="adamw", lr=a["lr"][0], weight_decay=a["weight_decay"])
    optimizer = build_optimizer(groups, settings)
    schedule = ScheduleSettings(name="poly", power=a["power"], warmup=a["warmup_iter"], warmup_start=a["warmup_ratio"])
    rows = []
    for number, gradients in enumerate(given["adamw/grads"]):
        set_learning_rates(optimizer, schedule, Progress(number, a["max_iter"], 0))
        for index, (p, gradient) in enumerate(zip(parameters, gradients, strict=True)):
            absent = index == 1 and not bool(
                gradients[0].any()
            )  # group 0 has zeros, group 1 has none, at the same time
            p.grad = None if absent else gradient.clone()
        take_step(optimizer, None, None)
        rows.append(torch.stack([p.detach().clone() for p in parameters]))
    return torch.stack(rows).numpy()


@golden("toco_schedule")
def test_rates_and_steps(case: Case) -> None:
    case.check("voc/lr", rates(case, "voc"))
    case.check("coco/lr", rates(case, "coco"))
    case.check("adamw/params_after_step", adamw(case))


@pytest.mark.parametrize("network", ["resnet18", "deit3_small_patch16_224", "vit_small_patch14_reg4_dinov2"])
def test_other_networks_are_refused(network: str) -> None:
    with pytest.raises(RecipeError, match="plain transformer of timm"), torch.device("meta"):
        ToCo(ToCo.Options(backbone=f"timm/{network}"), ClassNames(["cat"])).build_model()


def test_a_block_that_is_not_there() -> None:
    with pytest.raises(RecipeError, match="aux_layer 7: the backbone has 3 blocks"):
        method(2, {**TINY, "aux_layer": 7}).build_model()


def test_the_last_block_is_the_normed_one() -> None:
    model = method(2, {**TINY, "aux_layer": -1}).build_model().eval()
    seen = model(torch.randn(1, 3, 5, 4))
    assert torch.equal(seen.final, seen.middle)
    model = method(2, {**TINY, "aux_layer": -2}).build_model().eval()
    seen = model(torch.randn(1, 3, 5, 4))
    assert not torch.equal(seen.final, seen.middle)
