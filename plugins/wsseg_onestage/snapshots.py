"""Which of a training's states is kept: the published choice by validation loss, on held-out images."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from wsseg_cli.engine import checkpoint
from wsseg_cli.errors import CheckpointError, DataError
from wsseg_cli.types import Sample

EVERY = 2
"""Epochs between two validations, as published."""
KEPT = 5
"""Snapshots that are kept, as published."""

_NAME = re.compile(r"e(\d{3,})Xs(-?\d+\.\d{3})")


class Snapshot(NamedTuple):
    """A state before an epoch, counted from 0, and its score, 1 - validation loss."""

    epoch: int
    score: float

    @property
    def name(self) -> str:
        """The published name, such as e020Xs0.928."""
        return f"e{self.epoch:03d}Xs{self.score:.3f}"

    @classmethod
    def named(cls, name: str) -> Snapshot | None:
        """Return the snapshot that a published name stands for, its score rounded; None if it is not such a name."""
        found = _NAME.fullmatch(name)
        return cls(int(found[1]), float(found[2])) if found else None


def validates(epoch: int) -> bool:
    """Return whether the state before `epoch` is validated: at every even epoch."""
    return epoch % EVERY == 0


def improves(candidate: Snapshot, best: float | None, warmup: int) -> bool:
    """Return whether a snapshot is written: not in the warm-up, and strictly better than the `best` score so far."""
    return candidate.epoch >= warmup and (best is None or candidate.score > best)


def hold_back(samples: Sequence[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Return the samples to train on and those to validate on, a random `share` of the labelled ones, in order.

    Raises:
        DataError: there are too few for both.
    """
    labelled = [index for index, sample in enumerate(samples) if sample.labels]
    count = round(share * len(labelled))
    if not 0 < count < len(labelled):
        raise DataError(
            f"holding back {share:g} of {len(labelled)} labelled images leaves none to train or to validate on; "
            "give another `holdout`, or `select: last`"
        )
    chosen = np.random.default_rng(seed).permutation(len(labelled))[:count]
    held = {labelled[int(i)] for i in chosen}
    train = [sample for index, sample in enumerate(samples) if index not in held]
    return train, [samples[index] for index in sorted(held)]


class SnapshotFolder:
    """The snapshots of one training: safetensors files under published names, the exact score in each header."""

    suffix = ".safetensors"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, snapshot: Snapshot) -> Path:
        """Return the file of a snapshot."""
        return self.folder / (snapshot.name + self.suffix)

    def all(self) -> list[Snapshot]:
        """Return the existing snapshots by epoch, with exact scores; the last is the best."""
        named = sorted(
            (snapshot.epoch, path)
            for path in self.folder.glob("*" + self.suffix)
            if (snapshot := Snapshot.named(path.stem))
        )
        return [Snapshot(epoch, _score(path)) for epoch, path in named]

    def keep(self, snapshots: Iterable[Snapshot]) -> None:
        """Delete all but the newest five of these."""
        for old in sorted(snapshots)[:-KEPT]:
            self.path(old).unlink(missing_ok=True)


def _score(path: Path) -> float:
    score = checkpoint.read_header(path).get("score")
    if not isinstance(score, float) or not np.isfinite(score):
        raise CheckpointError(f"{path}: its header has no score; delete the snapshot and run again")
    return score
