"""PPC: networks, losses and prototypes against the published code, on SEAM and on EPS."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from golden_cases import Case, golden
from torch import Tensor
from wsseg_ppc.contrast import (
    ContrastView,
    Rules,
    contrast,
    intra_view,
    normalized_scores,
    pixels,
    prototypes,
    pseudo_labels,
    semi_hard,
)
from wsseg_ppc.net import PpcEpsNet, PpcSeamNet
from wsseg_ppc.views import EpsView, eps_view_losses
from wsseg_seam import loss as seam
from wsseg_seam.net import SeamMaps
from wsseg_seam.pcm import resized

from wsseg_cli import nets
from wsseg_cli.nets import weights
from wsseg_cli.ops.pooling import global_average

INPUTS = ("f_proj", "cam", "cam_rv")
LEAVES = [f"{name}{view}" for view in (1, 2) for name in INPUTS]


def rules_of(case: Case, channel: Any) -> Rules:
    a = case.arguments
    return Rules(
        channel=channel,
        background=a["bg_threshold"],
        top=a["topk"],
        skip=a["semi_hard_skip"],
        keep=a["semi_hard_keep"],
        temperature=a["temperature"],
        weight=a.get("weight", a.get("gamma")),
        hard_share=a["hard_fraction"],
        kept_share=a["keep_fraction"],
        grid=a["grid"],
    )


def given(case: Case) -> dict[str, Tensor]:
    return {name: torch.from_numpy(case.inputs[name]).requires_grad_() for name in LEAVES}


def drawn_keys(case: Case, view: int, labels: Tensor) -> Tensor:
    """Return keys that put the pixels which the case drew before all others of their class."""
    keys = torch.ones(len(labels), dtype=torch.float64)
    for name, places in case.inputs.items():
        if name.startswith(f"random_idx_view{view}_class"):
            members = (labels == int(name.split("class")[1])).nonzero()[:, 0]
            keys[members[torch.from_numpy(places).long()]] = 0
    return keys


class Contrast:
    """The contrast of a case: the pixels of both views and the three losses."""

    def __init__(self, case: Case, given: dict[str, Tensor], labels: Tensor, channel: int) -> None:
        rules = self.rules = rules_of(case, channel)
        views = [ContrastView(given[f"f_proj{v}"], given[f"cam_rv{v}"]) for v in (1, 2)]
        places = tuple(torch.from_numpy(case.outputs[f"proto_idx{v}"]).long() for v in (1, 2))
        self.pixels = [pixels(view, labels, rules, at) for view, at in zip(views, places, strict=True)]
        self.keys = tuple(drawn_keys(case, v, self.pixels[v - 1].labels) for v in (1, 2))
        self.losses = contrast(*views, labels, rules, self.keys, places)  # type: ignore[arg-type]
        self.total = sum(self.losses.values())
        size = (rules.grid, rules.grid)
        self.scores = [normalized_scores(view.revised, size, rules) for view in views]

    def against(self, view: int, other: int, pseudo: int) -> Tensor:
        logits = self.pixels[view - 1].unit @ self.pixels[other - 1].prototypes.vectors.T / self.rules.temperature
        return torch.nn.functional.cross_entropy(logits, self.pixels[pseudo - 1].labels)

    def outputs(self, given: dict[str, Tensor]) -> dict[str, Any]:
        leaves = [given["f_proj1"], given["f_proj2"]]
        grads = torch.autograd.grad(self.total, leaves, retain_graph=True)
        one, two = self.pixels
        return {
            "loss_nce": self.total,
            "loss_cross_nce": self.losses["cross_prototype"],
            "loss_cross_nce2": self.losses["cross_label"],
            "loss_intra_nce": self.losses["intra"],
            "loss_nce1": self.against(1, 2, 1),
            "loss_nce2": self.against(2, 1, 2),
            "loss_cross_nce2_1": self.against(1, 1, 2),
            "loss_cross_nce2_2": self.against(2, 2, 1),
            "loss_intra_nce1": intra_view(one, self.rules, self.keys[0]),
            "loss_intra_nce2": intra_view(two, self.rules, self.keys[1]),
            "grad_nce_f_proj1": grads[0],
            "grad_nce_f_proj2": grads[1],
            "pseudo_label1": one.labels,
            "pseudo_label2": two.labels,
            "prototypes1": one.prototypes.vectors,
            "prototypes2": two.prototypes.vectors,
            "proto_val1": one.prototypes.scores,
            "proto_val2": two.prototypes.scores,
            "norm_cam1": self.scores[0],
            "norm_cam2": self.scores[1],
        }


def seam_view(cams: Tensor, revised: Tensor, size: tuple[int, int]) -> seam.SeamView:
    return seam.SeamView(cams, resized(cams, size), resized(revised, size), SeamMaps(cams, revised, cams))


@golden("ppc_seam_losses")
def test_losses_on_seam(case: Case) -> None:
    leaves, labels = given(case), torch.from_numpy(case.inputs["label"])
    height, width = case.inputs["img_size"].tolist()
    side = case.arguments["view2_size"]
    first = seam_view(leaves["cam1"], leaves["cam_rv1"], (height, width))
    second = seam_view(leaves["cam2"], leaves["cam_rv2"], (side, side))
    base = seam.seam_losses(first, second, labels, pool=0.25, top=0.2)
    added = Contrast(case, leaves, labels, 0)
    total = sum(base.values()) + added.total
    names = ["cam1", "cam2", "cam_rv1", "cam_rv2"]
    grads = torch.autograd.grad(total, [leaves[name] for name in names], retain_graph=True)
    two = added.pixels[1]
    similarity = two.unit @ two.prototypes.vectors.T
    got = added.outputs(leaves) | {
        "loss": total,
        "loss_cls": base["cls"] + base["rvmin"],
        "loss_cls1": seam.classification(first.cams, labels),
        "loss_cls2": seam.classification(second.cams, labels),
        "loss_rvmin1": seam.revised_min_pooling(first.revised, labels),
        "loss_rvmin2": seam.revised_min_pooling(second.revised, labels),
        "loss_er": base["er"],
        "loss_ecr": base["ecr"],
        "neg_idx_view2": semi_hard(similarity, added.rules.skip, added.rules.keep),
        **{f"grad_{name}": grad for name, grad in zip(names, grads, strict=True)},
    }
    for name in set(case.outputs) - {"proto_idx1", "proto_idx2"}:
        case.check(name, got[name])


@golden("ppc_prototype_zero_class")
def test_prototype_of_a_class_without_map(case: Case) -> None:
    labels, grid = torch.from_numpy(case.inputs["label"]), case.outputs["norm_cam1"].shape[-1]
    rules = Rules(
        0, case.arguments["bg_threshold"], top=case.outputs["proto_idx1"].shape[1], skip=3, keep=10, grid=grid
    )
    view = ContrastView(torch.from_numpy(case.inputs["f_proj1"]), torch.from_numpy(case.inputs["cam_rv1"]))
    got = pixels(view, labels, rules, torch.from_numpy(case.outputs["proto_idx1"]).long())
    scores = normalized_scores(view.revised, (grid, grid), rules)
    case.check("norm_cam1", scores)
    case.check("prototypes1", got.prototypes.vectors)
    case.check("proto_val1", got.prototypes.scores)
    case.check("pseudo_label1", got.labels)
    assert got.labels.equal(pseudo_labels(scores, labels, 0).flatten())


@golden("ppc_prototype_zero_class", "ppc_seam_losses", "ppc_eps_losses")
def test_prototypes_take_the_highest_scores(case: Case) -> None:
    # The published places, except in rows of ties: background, and classes without a map.
    scores = torch.from_numpy(case.outputs["norm_cam1"]).transpose(0, 1).flatten(1).T
    values = torch.from_numpy(case.outputs["proto_val1"])
    found = prototypes(torch.rand(len(scores), 4), scores, values.shape[1])
    assert torch.allclose(found.scores, values)


@golden("ppc_eps_losses")
def test_losses_on_eps(case: Case) -> None:
    leaves, labels = given(case), torch.from_numpy(case.inputs["label"])
    added = Contrast(case, leaves, labels, -1)
    er, ecr = seam.equivariance(
        *(leaves[name] for name in ("cam1", "cam_rv1", "cam2", "cam_rv2")), labels, background=-1, spared=0
    )
    names = ["cam1", "cam2", "cam_rv1", "cam_rv2"]
    grads = torch.autograd.grad(er + sum(ecr), [leaves[name] for name in names], retain_graph=True)
    got = added.outputs(leaves) | {
        "loss_er": er,
        "loss_ecr": sum(ecr),
        **{f"grad_er_ecr_{name}": grad for name, grad in zip(names, grads, strict=True)},
    }
    for name in set(case.outputs) - {"proto_idx1", "proto_idx2"}:
        case.check(name, got[name])


def eps_views(case: Case, leaves: dict[str, Tensor]) -> list[EpsView]:
    side = case.arguments["view2_size"]
    saliency = torch.from_numpy(case.inputs["saliency"])
    return [
        EpsView(leaves["cam1"], leaves["cam_rv1"], saliency),
        EpsView(leaves["cam2"], leaves["cam_rv2"], resized(saliency, (side, side))),
    ]


@golden("ppc_eps_step")
def test_step_on_eps(case: Case) -> None:
    from wsseg_eps.loss import saliency_loss

    leaves, labels = given(case), torch.from_numpy(case.inputs["label"])
    weighting = {"tau": case.arguments["tau"], "lam": case.arguments["alpha"]}
    views = eps_views(case, leaves)
    base = eps_view_losses(*views, labels, **weighting)
    added = Contrast(case, leaves, labels, -1)
    total = sum(base.values()) + added.total
    grads = dict(zip(LEAVES, torch.autograd.grad(total, [leaves[name] for name in LEAVES]), strict=True))
    got = {
        "loss": total,
        "loss_cls": base["cls"] + base["rvmin"],
        "loss_sal": base["sal"] + base["sal_revised"],
        "loss_nce": added.total,
        "loss_er": base["er"],
        "loss_ecr": base["ecr"],
        "loss_sal2": saliency_loss(views[1].cams, views[1].saliency, labels, **weighting),
        "loss_sal_rv": saliency_loss(views[0].revised, views[0].saliency, labels, **weighting),
        "loss_sal_rv2": saliency_loss(views[1].revised, views[1].saliency, labels, **weighting),
        "loss_cls2": seam.multilabel_soft_margin(global_average(views[1].cams[:, :-1]), labels),
        "loss_cls_rv1": seam.revised_min_pooling(views[0].revised, labels, background=-1),
        "loss_cls_rv2": seam.revised_min_pooling(views[1].revised, labels, background=-1),
        "pseudo_label1": added.pixels[0].labels,
        "pseudo_label2": added.pixels[1].labels,
        **{f"grad_{name}": grad for name, grad in grads.items()},
    }
    for name in set(case.outputs) - {"proto_idx1", "proto_idx2"}:
        case.check(name, got[name])


@golden("ppc_eps_step")
def test_options_that_leave_the_published_code(case: Case) -> None:
    labels = torch.from_numpy(case.inputs["label"])
    views = eps_views(case, {name: tensor.detach() for name, tensor in given(case).items()})
    weighting = {"tau": case.arguments["tau"], "lam": case.arguments["alpha"]}
    published = eps_view_losses(*views, labels, **weighting)
    other = eps_view_losses(*views, labels, **weighting, bg_first_bug=False, revised_saliency=False)
    assert set(published) - set(other) == {"sal_revised"}
    assert other["er"] == published["er"]
    labels[0, 0] = 1
    spared = [eps_view_losses(*views, labels, **weighting, bg_first_bug=bug)["ecr"] for bug in (True, False)]
    assert spared[0] != spared[1]


@pytest.mark.slow
@golden("ppc_seam_forward")
@torch.no_grad()
def test_network_on_seam(case: Case) -> None:
    tensors = weights.rename(case.state_dict(), "ppc")
    net = PpcSeamNet(nets.backbone("resnet38"), 20).eval()
    net.load_state_dict(tensors, strict=True)
    x = torch.from_numpy(case.inputs["x"])
    maps = net(x)
    got = {"f_proj": net.project(maps), "cam_rv_lowres": maps.revised}
    for name, small in (("cam_slice", maps.cams), ("cam_rv_slice", maps.revised)):
        rows, columns = case.arguments["slices"][name]["step"]
        got[name] = resized(small, x.shape[2:])[..., ::rows, ::columns]  # type: ignore[arg-type]
    case.check_all(got)


@pytest.mark.slow
@golden("ppc_eps_forward")
@torch.no_grad()
def test_network_on_eps(case: Case) -> None:
    tensors = weights.rename(case.state_dict(), "ppc")
    net = PpcEpsNet(nets.backbone("resnet38"), 20).eval()
    net.load_state_dict(tensors, strict=True)
    x = torch.from_numpy(case.inputs["x"])
    maps = net(x)
    got = {"cam": maps.cams, "cam_rv": maps.revised, "f_proj": net.project(maps)}
    got |= {"pred": global_average(maps.cams), "pred_rv": global_average(maps.revised)}
    case.check_all(got)
    assert net.raw_cams(x).equal(maps.cams)
