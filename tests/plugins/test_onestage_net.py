from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from torch.nn import functional as F
from wsseg_cam.method import CAM
from wsseg_cam.net import CamNet
from wsseg_onestage.loss import balanced_mask_loss
from wsseg_onestage.method import OneStage
from wsseg_onestage.net import ASPP, GlobalCue, OneStageNet, StochasticGate

from wsseg_cli import nets
from wsseg_cli.nets import weights
from wsseg_cli.ops.cam import max_norm
from wsseg_cli.plugin.protocols import Method
from wsseg_cli.settings import OptimSettings
from wsseg_cli.types import ClassNames, Progress

BACKBONES: dict[str, dict[str, Any]] = {
    "resnet38": {"frozen": "onestage", "conv3": "raw"},
    "vgg16": {"frozen": "onestage", "normalization": "imagenet"},
    "resnet50": {"frozen": "onestage"},
}
CLASSES = ClassNames([f"class {i}" for i in range(20)])


def tensors(case: Case) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in case.inputs.items()}


def method(backbone: str, **options: Any) -> OneStage:
    chosen = OneStage.Options(backbone=backbone, backbone_options=BACKBONES[backbone], **options)
    return OneStage(chosen, CLASSES)


def load(model: torch.nn.Module, case: Case) -> None:
    model.load_state_dict(weights.rename(case.state_dict(), "onestage"))


@golden("onestage-aspp")
@torch.no_grad()
def test_aspp(case: Case) -> None:
    a, x = case.arguments, tensors(case)["x"]
    one, *dilations = a["dilations"]
    assert one == 1
    aspp = ASPP(a["inplanes"], case.outputs["gap"].shape[1], dilations, "fixed").eval()
    aspp.load_state_dict(case.state_dict())
    got = {f"branch{i}_mean": aspp.get_submodule(f"aspp{i}")(x).mean(1) for i in range(1, 5)}
    case.check_all(got | {"out_ch4": aspp(x)[:, ::4], "gap": aspp.global_avg_pool(x)})


@golden("onestage-gci")
def test_global_cue(case: Case) -> None:
    given = tensors(case)
    shallow, deep = given["x"].requires_grad_(), given["y"].requires_grad_()
    cue = GlobalCue(shallow.shape[1], deep.shape[1]).eval()
    cue.load_state_dict(case.state_dict())
    out = cue(shallow, deep)
    (out * given["w"]).sum().backward()
    assert shallow.grad is not None and deep.grad is not None
    case.check_all({"out": out, "grad_x_ch8": shallow.grad[:, ::8], "grad_y_ch8": deep.grad[:, ::8]})


@golden("onestage-stochastic-gate")
def test_stochastic_gate(case: Case) -> None:
    given, got = tensors(case), {}
    gate = StochasticGate(case.arguments["alpha_rate"])
    gate.draw = lambda like: given["gate"].to(like.dtype)  # type: ignore[method-assign]
    for mode in ("eval", "train"):
        deep, shallow = given["x1_deep"].clone().requires_grad_(), given["x2_shallow"].clone().requires_grad_()
        out = gate.train(mode == "train")(deep, shallow)
        (out * given["w"]).sum().backward()
        got |= {f"out_{mode}": out, f"grad_{mode}_x1": deep.grad, f"grad_{mode}_x2": shallow.grad}
    case.check_all(got)


def test_gate_is_drawn_for_every_element_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    gate = StochasticGate(0.3).train()
    keep = gate.draw(torch.empty(8, 16, 32, 32))
    assert set(keep.unique().tolist()) == {0.0, 1.0}
    assert abs(keep.mean().item() - 0.7) < 0.01
    deep, shallow = torch.full((4, 8, 64, 64), 2.0), torch.full((4, 8, 64, 64), 5.0)
    assert abs(gate(deep, shallow).mean().item() - 2.0) < 0.03
    torch.manual_seed(1)
    first = gate.draw(deep)
    torch.manual_seed(1)
    assert torch.equal(first, gate.draw(deep))


def check_model(case: Case) -> None:
    a = case.arguments
    m = method(a["backbone"], psi=a["SG_PSI"], focal_power=a["FOCAL_P"], focal_floor=a["FOCAL_LAMBDA"])
    model = m.build_model()
    load(model, case)
    seen: dict[str, torch.Tensor] = {}
    parts = {"aspp_ch16": "aspp", "fc8_skip_ch8": "fc8_skip", "fc8_x_ch16": "fc8_x", "gci_ch16": "shallow_mask"}
    for name, part in (parts | {"sg_ch16": "gate", "logits": "last_conv"}).items():
        model.get_submodule(part).register_forward_hook(lambda _, __, out, name=name: seen.update({name: out}))
    x = tensors(case)["x"]
    with torch.inference_mode():
        scores, masks = m.scores_and_masks(model.eval()(x))
        full = F.interpolate(masks, x.shape[-2:], mode="bilinear", align_corners=True)
    got = {name: out[:, :: int(name.rpartition("_ch")[2]) if "_ch" in name else 1] for name, out in seen.items()}
    step = a["mask_stride"]
    case.check_all(got | {"cls": scores, "masks_s3": full[..., ::step, ::step], "mask_mean": full.mean((2, 3))})


@golden("onestage-model-vgg16")
def test_vgg16(case: Case) -> None:
    check_model(case)


@pytest.mark.slow
@golden("onestage-model-resnet38", "onestage-model-resnet50")
def test_deep_backbones(case: Case) -> None:
    check_model(case)


@golden("onestage-baseline-cam")
@torch.no_grad()
def test_baseline(case: Case) -> None:
    a, given = case.arguments, tensors(case)
    model = CamNet(nets.backbone(a["backbone"], **BACKBONES[a["backbone"]]), len(CLASSES)).eval()
    load(model, case)
    logits = model.raw_cams(given["x"])
    full = F.interpolate(logits, given["x"].shape[-2:], mode="bilinear", align_corners=True)
    cams = torch.stack([max_norm(maps.relu()) for maps in full])
    masks = torch.cat([torch.full_like(cams[:, :1], a["BG_SCORE"]), cams], 1)
    kept = torch.cat([torch.ones_like(given["labels"][:, :1]), given["labels"]], 1)[:, :, None, None]
    step, share = a["mask_stride"], masks.mean((2, 3))[:, 1:]
    case.check_all(
        {
            "cls": model(given["x"]),
            "logits": logits,
            "masks_s3": masks[..., ::step, ::step],
            "cam_clean_s3": (masks * kept)[..., ::step, ::step],
            "cls_fg": (share * given["labels"]).sum(1) / given["labels"].sum(1),
        }
    )


@golden(
    "onestage-optim-resnet38-ae", "onestage-optim-resnet50-ae", "onestage-optim-vgg16-ae", "onestage-optim-resnet38-bsl"
)
def test_parameter_groups(case: Case) -> None:
    backbone, lr = case.arguments["backbone"], float(case.inputs["lr"])
    lr_multipliers = (1.0, 1.0, 10.0, 10.0) if backbone.startswith("resnet5") else (1.0, 2.0, 10.0, 20.0)
    options = {"backbone": backbone, "backbone_options": BACKBONES[backbone], "lr_multipliers": lr_multipliers}
    kind: type[Method] = OneStage if case.arguments["model"] == "ae" else CAM
    m = kind(kind.Options(**options), CLASSES)
    with torch.device("meta"):
        model = m.build_model().train()
    optim = OptimSettings(lr=lr, weight_decay=float(case.inputs["weight_decay"]))
    groups = m.param_groups(model, optim)
    names = {id(parameter): name.removeprefix("backbone.") for name, parameter in model.named_parameters()}
    norms = [(n.removeprefix("backbone."), p) for n, p in model.named_modules() if isinstance(p, torch.nn.BatchNorm2d)]
    got = {f"group{i}_names": [names[id(p)] for p in group["params"]] for i, group in enumerate(groups)}
    got["frozen_params"] = [names[id(p)] for p in model.parameters() if not p.requires_grad]
    got["bn_eval_in_train"] = [name for name, norm in norms if not norm.training]
    got["bn_train_in_train"] = [name for name, norm in norms if norm.training]
    for name, found in got.items():
        case.check(name, np.array(sorted(found) or [""]), np.sort(case.outputs[name]))
    case.check("group_lr", [group["lr"] for group in groups])
    case.check("group_weight_decay", [group["weight_decay"] for group in groups])
    assert case.checked == set(case.outputs)


@pytest.mark.slow
@golden("onestage-train-step")
def test_train_step(case: Case) -> None:
    """In float64, for two of its tolerances lie at the rounding of float32, which differs between processors."""
    case.check_all(outputs_of_step(case, torch.float64))


def outputs_of_step(case: Case, dtype: torch.dtype) -> dict[str, Any]:
    a, given = case.arguments, tensors(case)
    got: dict[str, Any] = {}
    m = method(
        a["backbone"],
        psi=a["SG_PSI"],
        focal_power=a["FOCAL_P"],
        focal_floor=a["FOCAL_LAMBDA"],
        mask_weight=a["MASK_LOSS_BCE"],
        warmup_epochs=a["PRETRAIN"],
        pamr_iterations=a["PAMR_ITER"],
        pamr_dilations=tuple(a["PAMR_KERNEL"]),
        cutoff_floor=a["cutoff_low"],
        cutoff_foreground=a["cutoff_top"],
        cutoff_background=a["background_factor"],
    )
    bits = np.unpackbits(case.inputs["gate"], count=int(np.prod(a["gate_shape"]))).reshape(a["gate_shape"])
    gate = torch.from_numpy(bits).to(dtype)
    for phase, epoch in (("val", 4), ("val", 5), ("train", 4), ("train", 5)):
        model = m.build_model()
        load(model, case)
        model.to(dtype).train(phase == "train")
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
                module.eval()
        model.gate.draw = lambda like: gate  # type: ignore[method-assign]
        images = given["image"] if phase == "train" else 0.25 * given["image"]
        labels = given["labels"] if phase == "train" else given["labels_val"]
        key = f"{phase}_e{epoch}"
        seen: list[torch.Tensor] = []
        model.register_forward_hook(lambda _, __, out, seen=seen: seen.append(out))
        losses = m.training_step(model, {"image": images.to(dtype), "label": labels}, Progress(0, 100, epoch))
        loss = sum(losses.values(), torch.zeros(()))
        scores, masks = m.scores_and_masks(seen[0])
        truth = m.pseudo_ground_truth(images, masks, labels)
        assert set(losses) == ({"cls", "mask"} if epoch >= a["PRETRAIN"] else {"cls"})
        share = masks.mean((2, 3))[:, 1:]
        got |= {
            f"{key}_loss_cls": losses["cls"],
            f"{key}_loss_fg": ((share * labels).sum(1) / labels.sum(1)).mean(),
            f"{key}_loss_mask": balanced_mask_loss(seen[0], truth, labels).mean(),
            f"{key}_loss": loss,
        }
        if phase == "val":
            continue
        got |= {f"{key}_cls": scores, f"{key}_pseudo_labelled": truth.sum((2, 3))}
        optim = OptimSettings(lr=a["LR"], momentum=a["momentum"], weight_decay=a["WEIGHT_DECAY"])
        groups = m.param_groups(model, optim)
        sgd = torch.optim.SGD(groups, lr=optim.lr, momentum=optim.momentum, weight_decay=optim.weight_decay)
        loss.backward()
        state = {n.removeprefix("backbone."): t for n, t in model.state_dict(keep_vars=True).items()}
        before = {name: tensor.detach().clone() for name, tensor in state.items()}
        sgd.step()
        for name in (n for n in case.outputs if n.startswith(f"e{epoch}_")):
            what, parameter = name.removeprefix(f"e{epoch}_").split(".", 1)
            tensor = state[parameter]
            if what == "after":
                got[name] = tensor
            elif what == "delta":
                got[name] = (tensor.detach().float() - before[parameter].float()).flatten()[: a["first_entries"]]
            else:
                assert tensor.grad is not None
                got[name] = tensor.grad.norm() if what == "gradnorm" else tensor.grad.flatten()[: a["first_entries"]]
    return got


def test_decoder_fits_any_backbone() -> None:
    for name, options in (("small", {"width": 8}), ("efficientnet_lite0", {"output_stride": 16})):
        model = OneStageNet(nets.backbone(name, **options), 3, channels=16, dilations=(1, 2, 3)).eval()
        assert model(torch.zeros(1, 3, 65, 97)).shape == (1, 4, 17, 25), name


def test_learnt_aspp_norms_follow_the_batch() -> None:
    backbone = {"width": 8}
    fixed = OneStageNet(nets.backbone("small", **backbone), 3, channels=16).train()
    learnt = OneStageNet(nets.backbone("small", **backbone), 3, channels=16, aspp_norm="learn").train()
    assert not fixed.aspp.bn1.training and learnt.aspp.bn1.training
    fixed(torch.randn(2, 3, 32, 32))
    assert not fixed.aspp.bn1.running_mean.any() and bool((fixed.aspp.bn1.running_var == 1).all())
