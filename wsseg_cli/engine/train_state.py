"""The state of an unfinished training on disk: written every few steps, loaded to resume, removed at the end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import ConfigDict, Field, with_config
from torch import Tensor, nn
from typing_extensions import TypedDict

from ..data import tensor_files
from ..disk.records import read_record
from ..disk.writing import new_folder, remove
from ..errors import CheckpointError
from .checkpoint import MODEL, load_strictly, tensors_of

_STATE = "train_state"
_MOST_STEPS = 1 << 53


@with_config(ConfigDict(extra="forbid", strict=True, allow_inf_nan=False))
class _State(TypedDict):
    """A training's state apart from its tensors: steps done, the optimiser's scalars by "NUMBER.NAME", loss scaling."""

    step: Annotated[int, Field(ge=0)]
    scalars: dict[Annotated[str, Field(pattern=r"^\d{1,9}\.\w+$")], int | float | bool]
    scaler: dict[str, int | float]


def write(folder: Path, step: int, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any) -> None:
    """Write everything needed to resume training after `step` steps as `folder`/step_NNNNNN; drop older states.

    Raises:
        DataError: the state cannot be written; the previous one is kept.
    """
    final = folder / f"step_{step:06d}"
    state = optimizer.state_dict()["state"]
    tensors, scalars = {}, {}
    for number, values in state.items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                tensors[f"{number}.{name}"] = value.detach().cpu().contiguous().clone()
            elif value is not None:
                scalars[f"{number}.{name}"] = value
    content = {"step": step, "scalars": scalars, "scaler": scaler.state_dict() if scaler else {}}
    with new_folder(final) as temporary:
        tensor_files.save_tensors(temporary / MODEL, tensors_of(model))
        tensor_files.save_tensors(temporary / f"{_STATE}.safetensors", tensors)
        (temporary / f"{_STATE}.json").write_text(json.dumps(content, sort_keys=True), encoding="utf-8")
    for older in _states(folder):
        if older != final:
            remove(older)


def _states(folder: Path) -> list[Path]:
    """Return the folders of training states, oldest first."""
    found = [path for path in folder.glob("step_*") if path.name[5:].isdecimal() and path.is_dir()]
    return sorted(found, key=lambda path: int(path.name[5:]))


def last_folder(folder: Path) -> Path | None:
    """Return the newest folder of a training state, or None."""
    return next(reversed(_states(folder)), None)


def resume(folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, scaler: Any) -> int:
    """Load the newest training state of `folder`, if there is one; return the number of steps done.

    Raises:
        CheckpointError: the state is damaged, or of another network or optimiser.
    """
    last = last_folder(folder)
    if last is None:
        return 0
    remedy = f"delete the folder {last} and run again: training starts from its beginning"
    refusal = tensor_files.Refusal(remedy, CheckpointError)
    try:
        tensors, _ = tensor_files.read_tensors(last / MODEL, "pt", refusal)
        values, _ = tensor_files.read_tensors(last / f"{_STATE}.safetensors", "pt", refusal)
    except FileNotFoundError as error:
        raise CheckpointError(f"{error.filename} is missing; {remedy}") from None
    content = read_record(last / f"{_STATE}.json", _State, remedy, CheckpointError)
    if content is None or content["step"] != int(last.name[5:]):
        raise CheckpointError(f"{last / _STATE}.json is missing or not of this step; {remedy}")
    load_strictly(model, tensors, str(last))
    state: dict[int, dict[str, Any]] = {}
    for key, value in [*values.items(), *content["scalars"].items()]:
        number, _, name = key.partition(".")
        if not number.isdecimal() or not name or len(number) > 9:
            raise CheckpointError(f"{last}: {key[:80]!r} is not a value of an optimiser; {remedy}")
        state.setdefault(int(number), {})[name] = value
    _check_state(last, state, optimizer, remedy)
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    if scaler and content["scaler"]:
        _load_scaler(scaler, content["scaler"], last, remedy)
    return content["step"]


def _check_state(last: Path, state: Mapping[int, Mapping[str, Any]], optimizer: Any, remedy: str) -> None:
    """Refuse values without a parameter, or not of its shape: some would only fail many steps later."""
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    names = {frozenset(values) for values in state.values()}
    for number, values in state.items():
        if number >= len(parameters) or len(names) > 1:
            raise CheckpointError(f"{last}: the values belong to another optimiser or network; {remedy}")
        for name, value in values.items():
            wanted = parameters[number].shape
            if not isinstance(value, Tensor) or not value.dim():
                _check_count(value.item() if isinstance(value, Tensor) else value, f"{last}: {number}.{name}", remedy)
            if isinstance(value, Tensor) and value.dim() and (value.shape != wanted or not value.is_floating_point()):
                raise CheckpointError(
                    f"{last}: {number}.{name} is {value.dtype} {tuple(value.shape)}, expected {tuple(wanted)}; {remedy}"
                )


def _check_count(value: float, what: str, remedy: str) -> None:
    """Refuse a scalar that is no count of steps, the only kind that optimisers keep."""
    if not 0 <= value < _MOST_STEPS:
        raise CheckpointError(f"{what} is {value!s:.40}, expected a count of steps; {remedy}")


def _load_scaler(scaler: Any, values: Mapping[str, Any], last: Path, remedy: str) -> None:
    try:
        scaler.load_state_dict(dict(values))
    except (KeyError, RuntimeError) as error:
        raise CheckpointError(f"{last}: the values belong to another loss scaling ({error}); {remedy}") from None


def drop(folder: Path) -> None:
    """Remove the training states of a finished training: only the model file stays."""
    for step in _states(folder):
        remove(step)
