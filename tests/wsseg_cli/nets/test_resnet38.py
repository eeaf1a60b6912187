from __future__ import annotations

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from torch import nn

from wsseg_cli.engine.optim import psa_param_groups
from wsseg_cli.errors import RecipeError
from wsseg_cli.nets import backbone
from wsseg_cli.settings import OptimSettings


def loaded(case: Case, **options: object) -> nn.Module:
    net = backbone("resnet38", **options).eval()
    net.load_state_dict(case.state_dict())
    return net


def record(backbone: nn.Module, statistics: object) -> dict[str, list]:
    """Collect `statistics` of the raw output of every direct sub-module."""
    seen: dict[str, list] = {}

    def keep(name: str) -> object:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            seen[name] = statistics(output[0] if isinstance(output, tuple) else output)

        return hook

    for name, module in backbone.named_children():
        module.register_forward_hook(keep(name))
    return seen


@golden("resnet38_backbone")
@torch.no_grad()
def test_backbone(case: Case) -> None:
    net = loaded(case)
    seen = record(net, lambda x: (list(x.shape), x.mean().item(), x.std().item()))
    maps = net(torch.from_numpy(case.inputs["x"]))
    got = {}
    for feature_map, values in maps.items():
        assert values.shape[1] == net.feature_maps[feature_map]
        got[f"{feature_map}_slice"] = values[:, :: case.arguments["slices"][f"{feature_map}_slice"]["channel_step"]]
        got[f"{feature_map}_channel_mean"] = values.mean((2, 3))
    for name, (shape, mean, std) in seen.items():
        got |= {f"stage_{name}_shape": np.array(shape), f"stage_{name}_mean": mean, f"stage_{name}_std": std}
    case.check_all(got)


@golden("onestage-backbone-resnet38")
@torch.no_grad()
def test_onestage_form(case: Case) -> None:
    net = loaded(case, frozen="onestage", conv3="raw")
    seen = record(net, lambda x: np.array([x.mean().item(), x.std().item(), x.abs().max().item()]))
    maps = net(torch.from_numpy(case.inputs["x"]))
    step3, step6 = case.arguments["conv3_channel_step"], case.arguments["conv6_channel_step"]
    got = {
        "conv3_ch16": maps["conv3"][:, ::step3],
        "conv3_chmean": maps["conv3"].mean(1),
        "conv6_slice": maps["conv6"][:, ::step6],
        "conv6_chmean": maps["conv6"].mean(1),
        "conv6_spmean": maps["conv6"].mean((2, 3)),
    }
    case.check_all(got | {f"stat_{name}": values for name, values in seen.items()})


SEAM_HEADS = ("fc8", "f8_3", "f8_4", "f9")


def seam_like(width: int, heads: tuple[str, ...] = SEAM_HEADS) -> nn.Module:
    """Return the parts of SEAM's network under their published names, narrow: names do not depend on width."""
    model = nn.Module()
    model.backbone = backbone("resnet38", width=width)
    model.dropout7 = nn.Dropout2d(0.5)
    for name in heads:
        model.add_module(name, nn.Conv2d(1, 1, 1, bias=False))
    return model


def frozen_convolutions(backbone: nn.Module) -> list[tuple[str, nn.Module]]:
    found = [(name, m) for name, m in backbone.named_modules() if isinstance(m, nn.Conv2d)]
    return [(name, m) for name, m in found if not m.weight.requires_grad]


@golden("resnet38_freeze")
def test_what_learns(case: Case) -> None:
    heads_of = {"seam": SEAM_HEADS, "ppc_seam": (*SEAM_HEADS, "fc_proj")}[case.arguments["network"]]
    model = seam_like(width=2, heads=heads_of).train()
    published = {name.removeprefix("backbone."): tensor for name, tensor in model.named_parameters()}
    assert set(published) == set(case.inputs["names"].tolist())
    names = {id(p): name for name, p in published.items()}
    heads = [model.get_submodule(name) for name in heads_of]
    groups = [[names[id(p)] for p in g["params"]] for g in psa_param_groups(model, heads, OptimSettings(lr=1))]
    # The published groups were made before the freezing; ours leave out what gets no gradient.
    groups[0] += [f"{n}.weight" for n, _ in frozen_convolutions(model.backbone)]
    leaves = {n.removeprefix("backbone."): m for n, m in model.named_modules() if n and not list(m.children())}
    got = {
        **{f"group{index}_names": group for index, group in enumerate(groups)},
        "trainable_after_train_call": [n for n, p in published.items() if p.requires_grad],
        "leaf_modules_in_training_mode": [n for n, m in leaves.items() if m.training],
    }
    for name, want in case.outputs.items():
        case.check(name, np.array(sorted(got[name]), dtype=want.dtype), np.sort(want))


def test_freezing_lasts() -> None:
    net = backbone("resnet38", width=2)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    net.eval().train()
    optimizer = torch.optim.SGD([p for p in net.parameters() if p.requires_grad], lr=0.1)
    net(torch.randn(2, 3, 33, 33))["conv6"].mean().backward()
    optimizer.step()
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    assert "b3.conv_branch2a.weight" in changed
    assert not [name for name in changed if ".bn" in name or name.startswith(("conv1a", "b2", "bn7"))]


def test_deeplab_form_moves_statistics_only() -> None:
    net = backbone("resnet38", width=2, frozen="deeplab", bn_momentum=3e-4).train()
    assert net.conv1a.weight.requires_grad and not net.bn7.weight.requires_grad
    assert net.bn7.training and net.bn7.momentum == 3e-4
    net = backbone("resnet38", width=2, frozen=False).train()
    assert all(p.requires_grad for p in net.parameters())


@pytest.mark.parametrize("options", [{"frozen": "pas"}, {"conv3": "relu"}, {"normalization": "bgr"}])
def test_unknown_options(options: dict[str, str]) -> None:
    with pytest.raises(RecipeError, match=r"is '(pas|relu|bgr)': (unknown|Input should be)"):
        backbone("resnet38", width=2, **options)


def test_sizes() -> None:
    net = backbone("resnet38", width=1).eval()
    for height, width in ((1, 1), (9, 17), (64, 65)):
        maps = net(torch.zeros(1, 3, height, width))
        assert maps["conv6"].shape[2:] == (-(-height // 8), -(-width // 8))
        assert {feature_map: m.shape[1] for feature_map, m in maps.items()} == net.feature_maps
