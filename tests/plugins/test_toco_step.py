from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from golden_cases import Case, golden
from toco_cases import UNWEIGHTED, Given, a_batch, filled, head_of, method, published, step, tensors
from torch import Tensor
from wsseg_toco.net import Directions

from wsseg_cli.types import Progress

BOTH = ("voc", "coco")
SOURCES = {"final": 0, "auxiliary": 1}
TERMS = ("cls", "cls_aux", "ptc", "ctc", "seg", "reg")
STAGES: dict[str, dict[str, Any]] = {
    "voc": {"seg_after": 2000},
    "coco": {"seg_after": 8000, "contrast_after": 12000, "final_after": 12000},
}


def indices(case: Case, name: str) -> Iterator[Tensor]:
    return iter(tensors(case)[name])


@golden("toco_train_step")
def test_training_step(case: Case) -> None:
    a, given = case.arguments, tensors(case)
    head = head_of(case)
    for which in BOTH:
        said = a[which]
        m = method(
            a["network"]["classes"],
            a["network"],
            cls=Given,
            projection=head,
            local_size=a["local_crop_size"],
            local_crops=a["crop_num"],
            cam_scales=tuple(a["cam_scales"]),
            high=said["high_thre"],
            low=said["low_thre"],
            temperature=said["temp"],
            teacher_momentum=a["momentum"],
            **{f"{name}_weight": a[f"w_{name}"] for name in ("ptc", "ctc", "seg", "reg")},
            par_dilations=tuple(a["dilations"]),
            par_iterations=a["num_iter"],
            energy_weight=a["energy"]["weight"],
            energy_srgb=float(a["energy"]["sigma_rgb"]),
            energy_sxy=float(a["energy"]["sigma_xy"]),
            **STAGES[which],
        )
        model = filled(m, case)
        raw = Given(m.options.model_copy(update=UNWEIGHTED | {"contrast_after": -1}), m.classes)
        levels = {name: given[name].numpy().transpose(0, 2, 3, 1) for name in ("image", "view2", "local")}
        pixels = {name: np.stack([m.normalization.apply(i) for i in images]) for name, images in levels.items()}
        batch = {name: torch.from_numpy(x.transpose(0, 3, 1, 2).copy()) for name, x in pixels.items()}
        batch |= {"label": given["label"], "box": given["box"]}
        for number in a["iterations"][which]:
            prefix = f"{which}_{number}"
            m.after_step(model, Progress(number, 10**6, 0))  # of the step before; the first one moves nothing in truth
            for one in (m, raw):
                one.given = {"permutations": indices(case, f"{prefix}/rand_index")}
            unweighted = raw.training_step(model, batch, Progress(number, 10**6, 0))
            model.zero_grad(set_to_none=True)
            losses = m.training_step(model, batch, Progress(number, 10**6, 0))
            total = torch.stack(list(losses.values())).sum()
            total.backward()
            for term in TERMS:
                case.check(f"{prefix}/loss_{term}", unweighted[term])
            case.check(f"{prefix}/loss_total", total)
            case.check(f"{prefix}/refined_label", m.kept["refined_labels"])
            case.check(f"{prefix}/token_label", m.kept["token_labels"])
            case.check(f"{prefix}/flags", m.kept["local_crops"][1].long())
            check_gradients(case, prefix, model)
            if which == "voc" and number == a["iterations"]["voc"][0]:
                check_once(case, m)
    assert case.checked == set(case.outputs)


def check_gradients(case: Case, prefix: str, model: torch.nn.Module) -> None:
    found = {published(name): p.grad for name, p in model.named_parameters() if p.grad is not None}
    zero = [name for name, g in found.items() if not bool(g.any())]
    for output, names in (("grad_names", list(found)), ("zero_grad_names", zero or [""])):
        key = f"{prefix}/{output}"
        case.check(key, np.array(sorted(names)), np.array(sorted(case.outputs[key].tolist())))
    for name, cut in case.arguments["probes"].items():
        slices = ... if cut == "whole" else tuple(slice(*ends) for ends in cut)
        case.check(f"{prefix}/grad.{name}", found[name][slices])
        case.check(f"{prefix}/gradnorm.{name}", found[name].norm())


def check_once(case: Case, m: Any) -> None:
    cuts = case.arguments["slices"]
    for name, maps in zip(("cams", "cams_aux"), m.kept["class_maps"], strict=True):
        rows, columns = cuts[name]["step"]
        case.check(name, maps[..., ::rows, ::columns])
    case.check("roi_mask", m.kept["region_map"])
    for name, outputs in zip(("student", "teacher"), m.kept["projections"], strict=True):
        case.check(name, outputs[:, :: cuts[name]["channel_step"]])


@golden("toco_schedule")
def test_weights_of_the_losses_and_source_of_the_masks(case: Case) -> None:
    assert case.arguments["loss_order"] == list(TERMS)
    for which in BOTH:
        recipe = method(2, cls=Given, local_size=2, **STAGES[which])
        raw = Given(recipe.options.model_copy(update=UNWEIGHTED | {"contrast_after": -1}), recipe.classes)
        model = recipe.build_model()
        torch.manual_seed(0)
        maps = (torch.rand(1, 2, 8, 8), torch.rand(1, 2, 8, 8))
        batch = {**a_batch(1, 2, (8, 8)), "image": torch.randn(1, 3, 8, 8)}
        rows, sources = [], []
        for number in case.inputs[f"{which}/n_iter"].tolist():
            losses = []
            for one in (recipe, raw):
                one.given = {"class_maps": maps, "local_crops": (torch.zeros(8, 1, 3, 2, 2), torch.ones(1, 10))}
                losses.append(step(one, model, batch, number))
            rows.append([float(losses[0][term].detach() / losses[1][term].detach()) for term in TERMS])
            used = recipe.kept["refined_from"]
            sources.append(next(word for word, n in SOURCES.items() if torch.equal(used, maps[n])))
        case.check(f"{which}/loss_weights", np.array(rows))
        case.check(f"{which}/pseudo_label_source", np.array(sources))


def test_teacher_starts_as_a_copy_and_never_learns() -> None:
    model = method(2).build_model()
    for ours, theirs in zip(model.proj_head_t.parameters(), model.proj_head.parameters(), strict=True):
        assert torch.equal(ours, theirs) and not ours.requires_grad
    assert not Directions(3, 4).weight_g.requires_grad
