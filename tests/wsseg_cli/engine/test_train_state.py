"""The state of a training on disk: what no optimiser of ours keeps is refused before it is taken over."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from wsseg_cli.engine import train_state
from wsseg_cli.errors import CheckpointError


def trained() -> tuple[nn.Module, torch.optim.Optimizer]:
    model = nn.Linear(2, 2)
    optimizer = torch.optim.AdamW(model.parameters(), 0.1)
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("value", [-1e6, 1e30, float("nan"), float("inf")])
def test_counts_of_steps_that_are_none(tmp_path: Path, value: float) -> None:
    model, optimizer = trained()
    train_state.write(tmp_path, 1, model, optimizer, None)
    assert train_state.resume(tmp_path, *trained(), None) == 1
    path = tmp_path / "step_000001" / "train_state.safetensors"
    save_file(load_file(path) | {"0.step": torch.tensor(value)}, path)
    with pytest.raises(CheckpointError, match=r"0\.step is .*, expected a count of steps; delete the folder"):
        train_state.resume(tmp_path, *trained(), None)
