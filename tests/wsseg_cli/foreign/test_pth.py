from __future__ import annotations

import argparse
import contextlib
import io
import os
import pickle
import random
import re
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from wsseg_cli.errors import CheckpointError
from wsseg_cli.foreign.pth import load, read, read_wrapped

TENSORS = {"conv1a.weight": torch.arange(6.0).reshape(1, 2, 3), "bn7.num_batches_tracked": torch.tensor(3)}


def saved(path: Path, content: Any, zipped: bool = True) -> Path:
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    "wrap",
    [
        lambda t: t,
        OrderedDict,
        lambda t: {"state_dict": t, "epoch": 3, "optimizer": {"lr": 0.1}},
        lambda t: {"model": {"state_dict": t}},
        lambda t: {f"module.{name}": value for name, value in t.items()},
        lambda t: {"model": {f"module.module.{name}": value for name, value in t.items()}},
        lambda t: {name: value.half() if value.is_floating_point() else value for name, value in t.items()},
        lambda t: {name: torch.nn.Parameter(v) if v.is_floating_point() else v for name, v in t.items()} | {"epoch": 3},
    ],
)
def test_forms_of_a_checkpoint(tmp_path: Path, wrap: Any, zipped: bool) -> None:
    tensors = read(saved(tmp_path / "a.pth", wrap(TENSORS), zipped))
    assert list(tensors) == list(TENSORS)
    for name, want in TENSORS.items():
        assert tensors[name].dtype == want.dtype and torch.equal(tensors[name], want)
        assert not tensors[name].requires_grad


STEP = {"step": torch.ones(1)}


@pytest.mark.parametrize(
    ("wrap", "inside"),
    [
        (lambda t: t, ""),
        (lambda t: {"state_dict": t, "epoch": 3}, "state_dict"),
        (
            lambda t: {"model_state_dict": t, "optimizer_state_dict": {"state": {0: {"step": torch.ones(1)}}}},
            "model_state_dict",
        ),
        (lambda t: {"net": t, "acc": 91.5}, "net"),
        (lambda t: {"model": {"state_dict": t}}, "model.state_dict"),
        (lambda t: {"encoder": t, "optimizer": {"state": {0: STEP}}}, "encoder"),
    ],
)
def test_wrappers_are_taken_off_and_named(tmp_path: Path, wrap: Any, inside: str) -> None:
    tensors, keys = read_wrapped(saved(tmp_path / "a.pth", wrap(TENSORS)))
    assert list(tensors) == list(TENSORS) and keys == inside


def test_two_networks_in_one_file_are_not_chosen_from(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no tensors where.*student \(dict\), teacher \(dict\)"):
        read(saved(tmp_path / "a.pth", {"student": TENSORS, "teacher": TENSORS}))


def test_open_file_and_bfloat16(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.ones(2, dtype=torch.bfloat16)}, buffer)
    buffer.seek(0)
    assert read(buffer)["w"].dtype == torch.float32


def test_module_of_some_names_stays(tmp_path: Path) -> None:
    content = {"module.a": torch.ones(1), "b": torch.ones(1)}
    assert set(read(saved(tmp_path / "a.pth", content))) == set(content)


class Attack:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_refused_and_not_run(tmp_path: Path, zipped: bool) -> None:
    mark = tmp_path / "was_run"
    path = saved(tmp_path / "a.pth", {"w": torch.ones(1), "x": Attack(f"touch {mark}")}, zipped)
    with pytest.raises(CheckpointError, match=r"refused.*Nothing of it was executed"):
        read(path)
    path.write_bytes(pickle.dumps(Attack(f"touch {mark}")))
    with pytest.raises(CheckpointError, match="refused"):
        load(path)
    assert not mark.exists()


def test_whole_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"torch\.nn\.modules.*Save the state_dict alone"):
        read(saved(tmp_path / "a.pth", {"model": torch.nn.Linear(1, 1)}))


OBJECTS = {
    "argparse.Namespace": argparse.Namespace(lr=0.1),
    "multiarray.scalar": np.float64(61.2),
    "pathlib.PosixPath": Path("x"),
    "Attack|system": Attack("true"),
    "torch.optim.sgd.SGD": torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1),
}


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("kind", OBJECTS)
def test_what_stands_beside_tensors_is_named_and_torch_gives_no_advice(tmp_path: Path, kind: str, zipped: bool) -> None:
    with pytest.raises(CheckpointError, match=rf"an object of Python, \S*({kind})\)\. Nothing of it was") as caught:
        read(saved(tmp_path / "a.pth", {"state_dict": {"w": torch.ones(1)}, "args": OBJECTS[kind]}, zipped))
    assert not re.search("safe_globals|weights_only|PyTorch 2|trust|Please", str(caught.value))


def test_a_program_is_refused(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is on its way out
        torch.jit.save(torch.jit.script(torch.nn.Linear(1, 1)), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"is a TorchScript archive.*Save its state_dict") as caught:
        read(tmp_path / "a.pt")
    assert not re.search("weights_only|PyTorch 2|trust", str(caught.value))


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.99])
def test_truncated(tmp_path: Path, share: float, zipped: bool) -> None:
    path = saved(tmp_path / "a.pth", {f"layer{i}.weight": torch.randn(64, 64) for i in range(8)}, zipped)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match="damaged"):
        read(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([torch.ones(1)], "holds a list; expected a dict"),
        ({}, "it holds nothing"),
        ({"net": {"w": 1.0}, "epoch": 3}, r"it holds w \(float\)"),
        ({"args": {"w": 1.0}, "epoch": 3}, r"it holds args \(dict\), epoch \(int\)"),
        ({"w": torch.ones(2).to_sparse()}, "sparse or quantised"),
    ],
)
def test_no_checkpoint(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        read(saved(tmp_path / "a.pth", content))


def test_dict_inside_itself(tmp_path: Path) -> None:
    content: dict[str, Any] = {"w": torch.ones(1)}
    content["model"] = content
    with pytest.raises(CheckpointError, match="holds a dict; expected a dict of tensors by name"):
        read(saved(tmp_path / "a.pth", content))


@given(seed=st.integers(0, 2**32 - 1), zipped=st.booleans())
@settings(max_examples=150, deadline=None)
def test_damaged_bytes_give_our_error_or_tensors(
    tmp_path_factory: pytest.TempPathFactory, seed: int, zipped: bool
) -> None:
    path = saved(tmp_path_factory.mktemp("damaged") / "a.pth", TENSORS, zipped)
    content = bytearray(path.read_bytes())
    chance = random.Random(seed)
    for _ in range(chance.choice([1, 4, 40])):
        content[chance.randrange(len(content))] = chance.randrange(256)
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):
        assert all(isinstance(value, torch.Tensor) for value in read(path).values())


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cannot read .*none\.pth: No such file"):
        read(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="cannot read"):
        read(tmp_path)
    (tmp_path / "a.pth").write_text("not a checkpoint")
    with pytest.raises(CheckpointError, match="damaged"):
        read(tmp_path / "a.pth")
