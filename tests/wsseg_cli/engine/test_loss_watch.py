"""The losses that a training looks at every few steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsseg_cli.engine.losses import LossWatch, PartLosses
from wsseg_cli.errors import TrainingError


def part(value: float, *image_ids: str) -> PartLosses:
    return PartLosses.of({"loss": torch.tensor(value)}, image_ids)


def test_a_step_is_the_mean_of_its_parts(tmp_path: Path) -> None:
    watch = LossWatch(tmp_path)
    watch.add(1, [part(9.0, "a")])
    watch.add(2, [part(1.0, "b"), part(3.0, "c")])
    assert watch.look() == {"loss": 2.0} == watch.last


def test_a_loss_that_is_not_finite_is_named_with_its_own_step(tmp_path: Path) -> None:
    watch = LossWatch(tmp_path)
    watch.add(5, [part(1.0, "a"), part(float("inf"), "b", "c")])
    watch.add(6, [part(float("nan"), "d")])
    with pytest.raises(TrainingError, match=r"loss `loss` is inf at step 5; images b, c; last good checkpoint: none"):
        watch.look()
