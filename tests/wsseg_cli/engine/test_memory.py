"""What is said when memory is used up, in training and on single images."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from wsseg_cli.engine.each import each
from wsseg_cli.engine.memory import built, explained, is_out_of_memory
from wsseg_cli.errors import RecipeError, TrainingError
from wsseg_cli.plugin.discovery import load
from wsseg_cli.plugin.protocols import TrainingJob
from wsseg_cli.settings import AugmentSettings, OptimSettings, TrainSettings
from wsseg_cli.types import ClassNames

ERRORS: list[Exception] = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.06 GB)"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


def stage(folder: Path, batch_size: int = 16, **augment: Any) -> TrainingJob:
    settings = TrainSettings(
        weights="none",
        batch_size=batch_size,
        max_steps=9,
        optim=OptimSettings(lr=0.1),
        augment=AugmentSettings(**augment),
    )
    return TrainingJob(folder / "train-cls", (), ClassNames(["cat"]), settings)


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: str(error)[:20])
def test_training_says_what_needs_less_and_what_is_kept(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(TrainingError) as caught, explained(stage(tmp_path, crop=321), torch.device("cpu")):
        raise error
    text = str(caught.value)
    for word in ("batch_size 16", "accumulate 1", "crop 321", "`accumulate=2`", "Kept: nothing yet", "on cpu"):
        assert word in text
    (tmp_path / "train-cls" / "step_000120").mkdir(parents=True)
    with (
        pytest.raises(TrainingError, match=r"scales \[0.5, 1.0\].*Kept: 120 steps") as caught,
        explained(stage(tmp_path, batch_size=3, scales=(0.5, 1.0)), torch.device("cpu")),
    ):
        raise error
    assert "accumulate=" not in str(caught.value)  # three images cannot be parted


def test_other_errors_pass(tmp_path: Path) -> None:
    assert not is_out_of_memory(ValueError("out of memory"))
    with pytest.raises(RuntimeError, match="shapes"), explained(stage(tmp_path), torch.device("cpu")):
        raise RuntimeError("shapes do not fit")


def _hungry(large: str) -> Any:
    def work(image_id: str) -> str:
        if image_id == large:
            torch.empty(1 << 60, dtype=torch.uint8)
        return image_id

    return work


def test_an_image_that_is_too_large_is_named_and_the_others_are_done() -> None:
    done = each(["a", "b", "c"], _hungry, ("b",), quiet=True)
    assert done.results == {"a": "a", "c": "c"} and "`infer.scales`" in done.failures["b"]


@pytest.mark.parametrize("width", [2_000_000_000, 10**13, 10**26])
def test_a_network_of_any_size_is_refused(width: int) -> None:
    cam: Any = load("methods", "cam")
    plugin = cam(cam.Options(backbone="small", backbone_options={"width": width}), ClassNames(["cat"]))
    with pytest.raises(RecipeError, match="the network of CAM does not fit into memory with its options"):
        built(plugin)


def test_a_mistake_in_building_is_no_lack_of_memory() -> None:
    cam: Any = load("methods", "cam")

    class Wrong(cam):  # type: ignore[misc]
        def build_model(self) -> Any:
            raise TypeError("conv2d() got an unexpected keyword argument")

    with pytest.raises(TypeError, match="unexpected keyword"):
        built(Wrong(cam.Options(backbone="small"), ClassNames(["cat"])))
