from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from golden_cases import Case, golden
from wsseg_onestage import snapshots
from wsseg_onestage.snapshots import Snapshot, SnapshotFolder, hold_back, improves, validates

from wsseg_cli.engine import checkpoint
from wsseg_cli.errors import DataError
from wsseg_cli.types import Sample


@golden("onestage-snapshot-selection")
def test_selection(case: Case, tmp_path: Path) -> None:
    a, losses = case.arguments, case.inputs["val_loss"]
    assert a["max_kept"] == snapshots.KEPT
    files = SnapshotFolder(tmp_path)
    validated, saved = [], []
    for epoch in range(a["NUM_EPOCHS"] + 1):
        if not validates(epoch):
            continue
        validated.append(epoch)
        there, snapshot = files.all(), Snapshot(epoch, 1 - float(losses[epoch]))
        if improves(snapshot, there[-1].score if there else None, a["PRETRAIN"]):
            saved.append(snapshot)
            checkpoint.write_model(files.path(snapshot), torch.nn.Linear(1, 1), {"score": snapshot.score})
            files.keep([*there, snapshot])
    left = sorted(path.stem for path in tmp_path.iterdir())
    last = Snapshot.named(left[-1])
    assert last is not None
    case.check_all(
        {
            "validated_epochs": np.array(validated),
            "saved_suffixes": np.array([snapshot.name for snapshot in saved]),
            # the published files are pairs: a network and its optimiser, which ours has in its training state
            "files_left": np.array(sorted(f"{kind}_enc_{name}.pth" for kind in ("model", "opt") for name in left)),
            # the published code goes on behind the epoch in the name, although the snapshot has not trained it
            "resume_start_epoch": np.array(last.epoch + 1),
            "resume_best_score": last.score,
        }
    )


def test_only_the_newest_stay(tmp_path: Path) -> None:
    files, made = SnapshotFolder(tmp_path), [Snapshot(epoch, epoch / 100) for epoch in range(6, 20, 2)]
    for snapshot in made:
        checkpoint.write_model(files.path(snapshot), torch.nn.Linear(1, 1), {"score": snapshot.score})
    (tmp_path / "other.safetensors").touch()
    files.keep(made)
    assert files.all() == made[-5:]


def test_names_of_other_files_are_no_snapshots() -> None:
    assert Snapshot.named("model") is None and Snapshot.named("e1Xs0.5") is None
    assert Snapshot.named(Snapshot(4, -0.25).name) == Snapshot(4, -0.25)


def test_holding_back() -> None:
    samples = [Sample(str(i), Path(f"{i}.png"), (0,) if i % 5 else ()) for i in range(50)]
    train, held = hold_back(samples, 0.25, seed=1)
    assert len(held) == 10 and all(sample.labels for sample in held)
    assert sorted(train + held, key=lambda s: int(s.image_id)) == samples
    assert hold_back(samples, 0.25, seed=1) == (train, held) and hold_back(samples, 0.25, seed=2) != (train, held)
    with pytest.raises(DataError, match=r"holding back 0\.1 of 2 labelled images"):
        hold_back(samples[:3], 0.1, seed=1)
