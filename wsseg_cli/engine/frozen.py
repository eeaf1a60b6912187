"""Networks that are not trained: a small model file names their weights by path and hash instead of copying them.

What a plugin computes from the weights once (`Trainable.precompute`) is stored in that file.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data import tensor_files
from ..errors import CheckpointError
from ..plugin.protocols import Trainable
from . import checkpoint
from .memory import built


def write_frozen(path: Path, trainable: Trainable[Any, Any], weights: str, header: Mapping[str, Any]) -> str:
    """Write the model file of a plugin that learns nothing; return what a protocol says of its weights.

    Raises:
        CheckpointError: the weights cannot be read, do not fit, or leave part of the network randomly initialised.
    """
    states: list[dict[str, Tensor]] = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = built(trainable)
        said = checkpoint.load_initial(model, weights)
        states.append(model.state_dict())
    chance = [name for name, value in states[0].items() if not torch.equal(value, states[1][name])]
    if chance:
        raise CheckpointError(
            f"weights: {weights}: {len(chance)} of {len(states[0])} tensors of the network are not in it and would be "
            f"random, such as {chance[0]}; a method that learns nothing needs weights of its whole network"
        )
    kept = computed(trainable, model)
    file = checkpoint.initial_file(model, weights)
    frozen = {"weights": weights, "file": str(file or ""), "sha256": sha256_of(file) if file else ""}
    tensor_files.write_tensors(path, kept, {**header, "weights": said, "frozen": frozen, "kept": [*kept]})
    return said


@torch.no_grad()
def computed(trainable: Trainable[Any, Any], model: nn.Module) -> dict[str, Tensor]:
    """Compute what the plugin derives from its frozen network once, put it into the network and return it."""
    kept = {name: value.detach().cpu().contiguous() for name, value in trainable.precompute(model.eval()).items()}
    _put(model, kept, f"what {type(trainable).__name__}.precompute returns")
    return kept


def _put(model: nn.Module, tensors: Mapping[str, Tensor], what: str) -> None:
    """Copy tensors into the buffers of the same names.

    Raises:
        CheckpointError: there is no such buffer, or it has another shape.
    """
    buffers = dict(model.named_buffers())
    for name, value in tensors.items():
        if name not in buffers or buffers[name].shape != value.shape:
            own = tuple(buffers[name].shape) if name in buffers else "no such buffer"
            raise CheckpointError(f"{what}: {name[:80]} {tuple(value.shape)}, expected {own}")
        buffers[name].copy_(value)


def load_trained(model: nn.Module, path: Path) -> None:
    """Load a model file into its network: the file's own tensors, or the frozen weights that it names.

    Raises:
        CheckpointError: the file is missing or of another network, or the frozen weights have changed.
    """
    tensors, header = checkpoint.read_tensors(path)
    if "frozen" in header:
        weights = frozen_weights(header, path, model)
        try:
            checkpoint.load_initial(model, weights)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from error
        if sorted(tensors) != sorted(header.get("kept", ())):
            raise CheckpointError(f"{path} lacks what was computed of its weights; run `wsseg train-cls --force`")
        _put(model, tensors, str(path))
    else:
        checkpoint.load_strictly(model, tensors, str(path))


def frozen_weights(header: Mapping[str, Any], path: Path, model: nn.Module) -> str:
    """Return the weights that a model file without tensors names, after checking that they have not changed.

    Raises:
        CheckpointError: the weights file is missing, or its content has changed.
    """
    frozen = header["frozen"]
    weights = str(frozen["weights"])
    if frozen["sha256"]:
        try:
            file = checkpoint.initial_file(model, weights)
        except CheckpointError as error:
            raise CheckpointError(f"{path} names frozen weights that cannot be used: {error}") from error
        if file is None or not file.is_file():
            raise CheckpointError(
                f"{path} names frozen weights {weights} ({frozen['file']}), which are not there; put them back, or "
                "give other train_cls.weights and run `wsseg train-cls --force`"
            )
        if sha256_of(file) != frozen["sha256"]:
            raise CheckpointError(
                f"{path} names frozen weights {file}, whose content has since changed; put the file back, or run "
                "`wsseg train-cls --force`"
            )
    return weights


def sha256_of(file: Path) -> str:
    """Return the SHA-256 of a file's content in hexadecimal."""
    total = hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 20):
            total.update(block)
    return total.hexdigest()
