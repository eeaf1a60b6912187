"""Optimisers by name, the parameter groups of the PSA family, and learning rates as a pure function of the step."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from ..errors import RecipeError
from ..plugin.protocols import ParamGroups
from ..settings import OptimSettings, ScheduleSettings
from ..types import Progress

PSA_MULTIPLIERS = (1.0, 2.0, 10.0, 20.0)
"""Learning rates of old weights, old biases, new weights and new biases, in multiples of the recipe's."""


def psa_param_groups(
    model: nn.Module,
    new: Iterable[nn.Module | nn.Parameter],
    optim: OptimSettings,
    *,
    multipliers: Sequence[float] = PSA_MULTIPLIERS,
    decay_biases: bool = False,
) -> ParamGroups:
    """Return four parameter groups: old weights, old biases, new weights, new biases (PSA, and most systems after it).

    new: layers that start at random; all others are old. Biases are the parameters whose name ends in "bias", those of
    norms included; frozen parameters are in no group. multipliers: of the learning rate, per group. Biases have no
    weight decay unless `decay_biases`. A group may be empty.
    """
    fresh = {id(p) for part in new for p in ([part] if isinstance(part, nn.Parameter) else part.parameters())}
    members: list[list[nn.Parameter]] = [[], [], [], []]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members[2 * (id(parameter) in fresh) + name.endswith("bias")].append(parameter)
    return [
        {
            "params": parameters,
            "lr": optim.lr * multiplier,
            "weight_decay": optim.weight_decay if not is_bias or decay_biases else 0.0,
        }
        for parameters, multiplier, is_bias in zip(members, multipliers, (False, True, False, True), strict=True)
    ]


def build_optimizer(groups: ParamGroups, optim: OptimSettings, *, fused: bool = False) -> torch.optim.Optimizer:
    """Return the optimiser; each group stores its initial learning rate as `base_lr`.

    fused: one kernel updates many weights, which is for GPUs; last digits may differ.

    Raises:
        RecipeError: Nesterov momentum without momentum.
    """
    for group in groups:
        group["params"] = list(group["params"])
        group.setdefault("lr", optim.lr)
        group["base_lr"] = group["lr"]
    if optim.name == "sgd":
        if optim.nesterov and not optim.momentum:
            raise RecipeError("optim.nesterov: true needs a momentum above 0 (got 0); give optim.momentum")
        return torch.optim.SGD(
            groups,
            lr=optim.lr,
            momentum=optim.momentum,
            weight_decay=optim.weight_decay,
            nesterov=optim.nesterov,
            fused=fused or None,
        )
    kind = torch.optim.AdamW if optim.name == "adamw" else torch.optim.Adam
    return kind(groups, lr=optim.lr, betas=optim.betas, weight_decay=optim.weight_decay, fused=fused or None)


def take_step(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler | None, clip: float | None
) -> Tensor | None:
    """Update the weights and clear their gradients, which are scaled down first if their norm is above `clip`.

    Returns the norm before, () float32, of the gradients of all weights together; None without `clip`.
    """
    norm = None
    if clip is not None:
        if scaler is not None:
            scaler.unscale_(optimizer)
        norm = nn.utils.clip_grad_norm_([p for group in optimizer.param_groups for p in group["params"]], clip)
    if scaler is not None:
        scaler.step(optimizer)
        scaler.update()
    else:
        optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return norm


def step_facts(optimizer: torch.optim.Optimizer, norm: Tensor | None) -> dict[str, float]:
    """Return the highest learning rate of the groups as `lr`, and the norm of the gradients as `grad_norm`.

    A norm that is not finite is left out: loss scaling skips such a step.
    """
    facts = {"lr": max(group["lr"] for group in optimizer.param_groups)}
    value = math.inf if norm is None else float(norm)
    return facts | ({"grad_norm": value} if math.isfinite(value) else {})


def set_learning_rates(optimizer: torch.optim.Optimizer, schedule: ScheduleSettings, progress: Progress) -> None:
    """Set each group's learning rate to its `base_lr` times `rate` at the next step."""
    factor = rate(progress.step, progress.max_steps, schedule)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def rate(step: int, max_steps: int, schedule: ScheduleSettings) -> float:
    """Return the factor of the base learning rate in step `step`, counted from 0.

    The schedule ends at `schedule.steps`, or else at `max_steps`; afterwards the last rate used stays. A
    cosine without `schedule.steps` rises again past `max_steps`, as published. With `warmup` the first steps rise
    linearly from `warmup_start` to 1. With `every` the rate changes only at multiples of it (deeplab-pytorch).
    """
    end = schedule.steps or max_steps
    if step < schedule.warmup:
        return schedule.warmup_start + (1 - schedule.warmup_start) * step / schedule.warmup
    if schedule.every > 1:
        # The staircase also takes its last step, to 0 after `end` steps; nothing trains with it.
        step = min(step, end) // schedule.every * schedule.every
    if schedule.name == "poly":
        if schedule.divisor == "max+1":
            return (1 - min(step, end - 1) / (end + 1)) ** schedule.power
        last = end if schedule.every > 1 else end - 1
        return (1 - min(step, last) / end) ** schedule.power
    if schedule.name == "step":
        passed = sum(step >= round(share * end) for share in schedule.milestones)
        return schedule.factor**passed
    if schedule.name == "cosine":
        if schedule.steps is not None:
            step = min(step, end)
        length = max(1, end - schedule.warmup)
        share = (1 + math.cos(math.pi * (step - schedule.warmup) / length)) / 2
        return schedule.final + (1 - schedule.final) * share
    return 1.0
