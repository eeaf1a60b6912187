"""Optimisers, parameter groups and schedules."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from fill import fill_array
from golden_cases import Case, golden
from torch import nn

from wsseg_cli.engine.ema import ema_decay, ema_update
from wsseg_cli.engine.optim import (
    PSA_MULTIPLIERS,
    build_optimizer,
    psa_param_groups,
    rate,
    set_learning_rates,
    step_facts,
    take_step,
)
from wsseg_cli.errors import RecipeError
from wsseg_cli.settings import OptimSettings, ScheduleSettings
from wsseg_cli.types import Progress


def stack(rates: list[list[float]]) -> np.ndarray:
    return np.array(rates, np.float64)


@golden("psa_poly_sgd")
def test_psa(case: Case) -> None:
    a = case.arguments
    start = torch.from_numpy(case.inputs["start"])
    parts = [nn.Parameter(start[slice(*group["params"])].clone()) for group in a["groups"]]
    optim = OptimSettings(lr=0.1, momentum=a["default_weight_decay"], weight_decay=a["default_weight_decay"])
    groups = [
        {"params": [part], "lr": group["lr"], "weight_decay": float(group["weight_decay"])}
        for part, group in zip(parts, a["groups"], strict=True)
    ]
    optimizer = build_optimizer(groups, optim)
    schedule = ScheduleSettings(name="poly", power=a["power"])
    rates, after = [], []
    for step in range(len(case.outputs["lr"])):
        set_learning_rates(optimizer, schedule, Progress(step, a["max_step"], 0))
        rates.append([group["lr"] for group in optimizer.param_groups])
        optimizer.zero_grad()
        p = torch.cat(parts)
        (0.3 * (p[:3] ** 2).sum() + 0.1 * (p[3] - p[4])).backward()
        optimizer.step()
        after.append(torch.cat(parts).detach().clone())
    momentum = np.float64(optimizer.param_groups[0]["momentum"])
    case.check_all({"lr": stack(rates), "params": torch.stack(after), "momentum": momentum})


def run(
    groups: list[dict[str, Any]], optim: OptimSettings, gradients: np.ndarray, max_steps: int, power: float
) -> tuple[np.ndarray, np.ndarray, torch.optim.Optimizer]:
    """Return the rates and parameters of every step under given gradients, and the optimiser."""
    optimizer = build_optimizer(groups, optim)
    parameters = [group["params"][0] for group in groups]
    rates, after = [], []
    for step, given in enumerate(torch.from_numpy(gradients)):
        set_learning_rates(optimizer, ScheduleSettings(power=power), Progress(step, max_steps, 0))
        rates.append([group["lr"] for group in optimizer.param_groups])
        for parameter, gradient in zip(parameters, given, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
        after.append(np.stack([p.detach().numpy().copy() for p in parameters]))
    return stack(rates), np.stack(after), optimizer


@golden("poly_sgd")
def test_four_groups(case: Case) -> None:
    a = case.arguments
    names = ("old.weight", "old.bias", "new.weight", "new.bias")
    model = nn.ModuleDict({"old": nn.Module(), "new": nn.Module()})
    for name, value in zip(names, case.inputs["params"], strict=True):
        part, kind = name.split(".")
        model[part].register_parameter(kind, nn.Parameter(torch.from_numpy(value.copy())))
    optim = OptimSettings(lr=a["lr"], momentum=a["weight_decay"], weight_decay=a["weight_decay"])
    groups = psa_param_groups(model, [model["new"]], optim)
    assert list(PSA_MULTIPLIERS) == a["lr_mult"]
    rates, after, optimizer = run(groups, optim, case.inputs["grads"], a["max_step"], a["power"])
    case.check_all(
        {
            "lr": rates,
            "params_after_step": after,
            "sgd_momentum": np.array([g["momentum"] for g in optimizer.param_groups]),
            "group_weight_decay": np.array([g["weight_decay"] for g in optimizer.param_groups]),
        }
    )


@golden("puzzle-poly-optimizer")
def test_nesterov(case: Case) -> None:
    a = case.arguments
    optim = OptimSettings(lr=float(case.inputs["lr"]), momentum=a["wd"], weight_decay=a["wd"], nesterov=a["nesterov"])
    groups = [
        {
            "params": [nn.Parameter(torch.from_numpy(value.copy()))],
            "lr": optim.lr * group["lr_mult"],
            "weight_decay": float(group["weight_decay"]),
        }
        for value, group in zip(case.inputs["start"], a["groups"], strict=True)
    ]
    rates, after, _ = run(groups, optim, case.inputs["gradients"], a["max_step"], a["power"])
    case.check_all({"parameters_after_step": after, "lr_of_step": rates})


@golden("seg_kazuto_poly_lr")
def test_staircase(case: Case) -> None:
    a = case.arguments
    schedule = ScheduleSettings(power=a["power"], every=a["step_size"])
    rates = [rate(step, a["iter_max"], schedule) for step in case.inputs["iterations_done"].tolist()]
    case.check_all({"lr": a["base_lr"] * stack([rates]).T * [1, 10, 20]})


@golden("seg_wseg_poly_lr")
def test_divisors(case: Case) -> None:
    a = case.arguments

    def rates(steps: str, end: int, **more: Any) -> np.ndarray:
        schedule = ScheduleSettings(power=a["power"], **more)
        return stack([[rate(step, end, schedule) for step in case.inputs[steps].tolist()]]).T

    case.check_all(
        {
            "lr": a["lr"] * rates("iteration", a["max_itr"], divisor="max+1") * PSA_MULTIPLIERS,
            "lr_v3plus": a["lr_v3plus"] * rates("iteration_v3plus", a["max_itr_v3plus"], divisor="max+1") * [1, 10, 1],
            "lr_rs_poly": a["lr"] * rates("iteration", a["max_itr"]) * PSA_MULTIPLIERS,
        }
    )


def small_network(time: int) -> nn.Module:
    """Return the network of the case as it is at `time`."""
    model = nn.ModuleDict({"c": nn.Conv2d(2, 3, 1), "bn": nn.BatchNorm2d(3)})
    state = {
        name: torch.from_numpy(fill_array(f"t{time}.{name}", tuple(value.shape), str(value.dtype).split(".")[1]))
        for name, value in model.state_dict().items()
    }
    model.load_state_dict(state)
    return model


@golden("rsepm-schedules")
def test_rsepm(case: Case) -> None:
    steps, base = int(case.inputs["steps"]), case.inputs["base_lrs"]
    shares = tuple(m / steps for m in case.arguments["milestones"])

    def rates(**words: Any) -> np.ndarray:
        schedule = ScheduleSettings(**words)
        return stack([[rate(k, steps, schedule) for k in range(steps + 2)]]).T * base

    got: dict[str, Any] = {
        "poly_0.9": rates(name="poly", power=case.arguments["power"]),
        "step": rates(name="step", milestones=shares),
        "step_warmup2": rates(name="step", milestones=shares, warmup=2),
        "cosine_warmup3": rates(name="cosine", warmup=3),
    }
    decay = float(case.inputs["ema_decay"])
    average = small_network(0)
    for update in range(1, 6):
        ema_update(average, small_network(update), update, decay)
        if update in (1, 2, 5):
            got |= {f"ema_after{update}.{k}": v.clone() for k, v in average.state_dict().items()}
    got["ema_decay_1_to_5"] = np.array([ema_decay(n, decay) for n in range(1, 6)])
    got["ema_decay_at_100_1000_5000_20000"] = np.array([ema_decay(n, decay) for n in (100, 1000, 5000, 20000)])
    case.check_all(got)


def test_schedule_that_ends_early_keeps_its_last_rate() -> None:
    poly = ScheduleSettings(steps=10)
    assert rate(15, 20, poly) == rate(9, 20, poly) > 0
    assert rate(15, 20, ScheduleSettings(name="cosine", steps=10)) == pytest.approx(0)
    above = ScheduleSettings(divisor="max+1")
    assert rate(25, 20, above) == rate(19, 20, above) == pytest.approx((2 / 21) ** 0.9)


def test_warmup_rises_from_a_share() -> None:
    schedule = ScheduleSettings(name="constant", warmup=4, warmup_start=0.0)
    assert [rate(step, 9, schedule) for step in range(6)] == [0.0, 0.25, 0.5, 0.75, 1.0, 1.0]
    schedule = ScheduleSettings(name="constant", warmup=4, warmup_start=0.5)
    assert [rate(step, 9, schedule) for step in range(5)] == [0.5, 0.625, 0.75, 0.875, 1.0]


def test_cosine_ends_at_a_share() -> None:
    schedule = ScheduleSettings(name="cosine", steps=4, final=0.1)
    assert [rate(step, 4, schedule) for step in (0, 2, 4, 9)] == pytest.approx([1.0, 0.55, 0.1, 0.1])
    assert rate(2, 4, ScheduleSettings(name="cosine", steps=4)) == pytest.approx(0.5)


def test_warmup_rises_from_a_tenth() -> None:
    schedule = ScheduleSettings(name="constant", warmup=3)
    assert [rate(k, 10, schedule) for k in range(5)] == pytest.approx([0.1, 0.4, 0.7, 1, 1])


@pytest.mark.parametrize("name", ["poly", "constant", "step", "cosine"])
def test_every_schedule_stays_between_0_and_1(name: str) -> None:
    schedule = ScheduleSettings(name=name, milestones=(0.5,), warmup=2)
    rates = [rate(k, 9, schedule) for k in range(9)]
    assert all(0 < r <= 1 and math.isfinite(r) for r in rates)


def test_groups_leave_out_what_is_frozen() -> None:
    model = nn.ModuleDict({"old": nn.Conv2d(3, 4, 3), "norm": nn.BatchNorm2d(4), "new": nn.Conv2d(4, 2, 1)})
    model["norm"].requires_grad_(False)
    optim = OptimSettings(lr=0.5, weight_decay=0.25)
    groups = psa_param_groups(model, [model["new"]], optim)
    assert [len(g["params"]) for g in groups] == [1, 1, 1, 1]
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(0.5, 0.25), (1.0, 0.0), (5.0, 0.25), (10.0, 0.0)]
    assert groups[2]["params"][0] is model["new"].weight
    decayed = psa_param_groups(model, [model["new"]], optim, multipliers=(1, 1, 10, 10), decay_biases=True)
    assert [(g["lr"], g["weight_decay"]) for g in decayed] == [(0.5, 0.25), (0.5, 0.25), (5.0, 0.25), (5.0, 0.25)]


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_optimisers_by_name(name: str) -> None:
    parameter = nn.Parameter(torch.ones(3))
    optimizer = build_optimizer([{"params": [parameter]}], OptimSettings(name=name, lr=0.1))
    assert type(optimizer).__name__.lower() == name
    set_learning_rates(optimizer, ScheduleSettings(), Progress(5, 10, 0))
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 0.5**0.9)
    assert optimizer.param_groups[0]["base_lr"] == 0.1


def test_nesterov_without_momentum_is_refused() -> None:
    with pytest.raises(RecipeError, match="nesterov"):
        build_optimizer([{"params": [nn.Parameter(torch.ones(1))]}], OptimSettings(lr=0.1, nesterov=True))


@pytest.mark.parametrize("name", ["sgd", "adam", "adamw"])
def test_fused_takes_the_same_steps(name: str) -> None:
    after = []
    for fused in (False, True):
        parameter = nn.Parameter(torch.linspace(-1, 1, 7))
        settings = OptimSettings(name=name, lr=0.1, momentum=0.9 if name == "sgd" else 0.0, weight_decay=0.01)
        optimizer = build_optimizer([{"params": [parameter]}], settings, fused=fused)
        assert optimizer.param_groups[0]["fused"] is (True if fused else None)
        for _ in range(3):
            (parameter**3).sum().backward()
            take_step(optimizer, None, None)
        after.append(parameter.detach())
    torch.testing.assert_close(after[1], after[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("scaled", [False, True], ids=["plain", "loss scaling"])
@pytest.mark.parametrize(("clip", "moved"), [(None, (3.0, 4.0)), (10.0, (3.0, 4.0)), (1.0, (0.6, 0.8))])
def test_gradients_are_clipped_by_the_norm_of_all(clip: float | None, moved: tuple[float, float], scaled: bool) -> None:
    parts = [nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = build_optimizer([{"params": [part]} for part in parts], OptimSettings(lr=1.0))
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0) if scaled else None
    loss = (3 * parts[0] + 4 * parts[1]).sum()
    (loss if scaler is None else scaler.scale(loss)).backward()
    norm = take_step(optimizer, scaler, clip)
    assert [-float(part.detach()) for part in parts] == pytest.approx(moved, rel=1e-5)
    assert all(part.grad is None for part in parts)
    assert step_facts(optimizer, norm) == {"lr": 1.0} | ({} if clip is None else {"grad_norm": pytest.approx(5.0)})


def test_a_norm_that_overflows_is_no_fact() -> None:
    optimizer = build_optimizer([{"params": [nn.Parameter(torch.zeros(1))]}], OptimSettings(lr=1.0))
    assert step_facts(optimizer, torch.tensor(math.inf)) == {"lr": 1.0}
