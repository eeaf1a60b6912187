from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from wsseg_onestage.method import OneStage
from wsseg_onestage.snapshots import SnapshotFolder

from wsseg_cli.engine import checkpoint
from wsseg_cli.engine.fit import Loop
from wsseg_cli.errors import DataError
from wsseg_cli.ops.padded_views import class_gate, merge_padded, padded_views
from wsseg_cli.plugin.protocols import TrainingJob
from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings, RuntimeSettings, TrainSettings
from wsseg_cli.types import ClassNames, Progress, Sample

CLASSES = ClassNames(["cat", "dog", "cow"])
TINY: dict[str, Any] = {
    "backbone": "small",
    "backbone_options": {"width": 4},
    "channels": 8,
    "aspp_dilations": (1, 2, 3),
    "pamr_dilations": (1, 2),
    "pamr_iterations": 2,
    "pad_size": None,
    # random masks are flat: low cut-offs let some pixels of every class through
    "cutoff_floor": 0.0,
}


def method(**options: Any) -> OneStage:
    return OneStage(OneStage.Options(**(TINY | options)), CLASSES)


def network(m: OneStage) -> nn.Module:
    torch.manual_seed(0)
    return m.build_model().eval()


def photo(height: int = 40, width: int = 56) -> np.ndarray:
    small = np.random.default_rng(0).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC))


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    rng = np.random.default_rng(0)
    made = []
    for number in range(8):
        path = tmp_path / f"{number}.png"
        pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((40 + number, 36), Image.Resampling.BICUBIC).save(path)
        made.append(Sample(str(number), path, (number % 3,)))
    return made


def stage(folder: Path, samples: list[Sample]) -> TrainingJob:
    settings = TrainSettings(
        weights="none",
        augment=AugmentSettings(area=(0.9, 1.0), crop=32, flip=0.5, color_jitter=(0.3, 0.3, 0.3, 0.1)),
        batch_size=4,
        epochs=4,
        optim=OptimSettings(lr=1e-3, momentum=0.9, weight_decay=5e-4),
        save_every=3,
    )
    return TrainingJob(folder, samples, CLASSES, settings, seed=3, fingerprint="print")


def files(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def loop() -> Loop:
    return Loop(RuntimeSettings(device="cpu", workers=0, log_every=1), quiet=True)


class Killed(Exception):
    """Stands for the end of a process."""


class Mortal(OneStage):
    """Dies in one of its steps."""

    dies_at = 7

    def training_step(self, model: nn.Module, batch: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
        if progress.step == self.dies_at:
            raise Killed
        return super().training_step(model, batch, progress)


def test_killed_and_resumed_is_bit_identical(tmp_path: Path, samples: list[Sample]) -> None:
    # two steps an epoch: the warm-up ends before the last checkpoint, gates are drawn on both sides of it
    m = method(warmup_epochs=2)
    whole = loop()(m, stage(tmp_path / "whole", samples))
    with pytest.raises(Killed):
        loop()(Mortal(m.options, CLASSES), stage(tmp_path / "killed", samples))
    resumed = loop()(m, stage(tmp_path / "killed", samples))
    for (name, want), got in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(want, got), name
    logs = [(tmp_path / run / "metrics.jsonl").read_text() for run in ("whole", "killed")]
    assert logs[0] == logs[1]
    lines = [json.loads(line) for line in logs[0].splitlines()]
    assert ["mask" in line for line in lines] == [False] * 4 + [True] * 4
    assert any(line["mask"] > 0 for line in lines[4:])


@pytest.mark.parametrize("epoch", [4, 5])
def test_every_parameter_learns_in_every_step(epoch: int) -> None:
    m = method()
    model = network(m).train()
    batch = {"image": torch.randn(2, 3, 32, 32), "label": torch.tensor([[1.0, 0, 0], [0, 1.0, 1.0]])}
    losses = m.training_step(model, batch, Progress(0, 10, epoch))
    assert set(losses) == ({"cls"} if epoch == 4 else {"cls", "mask"})
    sum(losses.values(), torch.zeros(())).backward()
    assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []


@pytest.mark.parametrize("pad_size", [None, 128])
def test_given_labels_are_the_classes(pad_size: int | None) -> None:
    m = method(pad_size=pad_size)
    got = m.scores(network(m), photo(), (2, 0), InferSettings(scales=(1.0, 0.5), flip=True))
    assert got.classes.tolist() == [0, 2] and got.scores.shape == (2, 40, 56) and got.size == (40, 56)
    assert got.background is not None and got.background.shape == (40, 56)
    full = got.full()
    assert full.shape == (3, 40, 56) and full.min() >= 0 and full.max() <= 1


def test_without_labels_the_class_scores_decide() -> None:
    for threshold, classes in ((0.0, [0, 1, 2]), (1.0, [])):
        m = method(class_threshold=threshold)
        got = m.scores(network(m), photo(), None, InferSettings())
        assert got.classes.tolist() == classes and got.scores.shape == (len(classes), 40, 56)
        assert got.background is not None


def test_no_label_is_all_background() -> None:
    m = method()
    got = m.scores(network(m), photo(), (), InferSettings())
    assert len(got.classes) == 0 and got.background is not None and bool((got.background == 1).all())


def test_padded_views_merge_as_all_classes_at_once_would() -> None:
    m = method(pad_size=96, class_threshold=0.3, background_power=2.0)
    model, image, infer = network(m), photo(), InferSettings(scales=(1.0, 1.5), flip=True)
    views, places = padded_views(image, infer, m.normalization, (96, 96))
    with torch.no_grad():
        scores, masks = m.scores_and_masks(model(views))
    gate = class_gate(scores, 0.3)
    full = F.interpolate(masks, (96, 96), mode="bilinear", align_corners=True)
    want = merge_padded(full, places, (40, 56), gate, flip=True, background_power=2.0)
    got = m.scores(model, image, None, infer)
    np.testing.assert_array_equal(got.classes, gate.nonzero()[:, 0])
    np.testing.assert_allclose(got.full(), want[[0, *(got.classes + 1)]], atol=1e-6)


def test_image_larger_than_the_canvas() -> None:
    m = method(pad_size=64)
    with pytest.raises(DataError, match="does not fit the padded size 64x64"):
        m.scores(network(m), photo(), (0,), InferSettings(scales=(1.5,)))


def test_best_snapshot_becomes_the_model_even_after_a_kill(tmp_path: Path, samples: list[Sample]) -> None:
    m = method(warmup_epochs=2, select="val_loss", holdout=0.25)
    m.train(stage(tmp_path / "whole", samples), loop())
    mortal = Mortal(m.options, CLASSES)
    mortal.dies_at = 3
    with pytest.raises(Killed):
        mortal.train(stage(tmp_path / "killed", samples), loop())
    assert [name.split("Xs")[0] for name in files(tmp_path / "killed") if name.startswith("snap")]
    method(warmup_epochs=2, select="val_loss", holdout=0.25).train(stage(tmp_path / "killed", samples), loop())
    assert files(tmp_path / "whole") == files(tmp_path / "killed")
    kept = SnapshotFolder(tmp_path / "whole" / "snapshots").all()
    assert kept and all(snapshot.epoch in (2, 4) for snapshot in kept)
    header = checkpoint.read_header(tmp_path / "whole" / checkpoint.MODEL)
    assert (header["epoch"], header["score"]) == kept[-1] and header["fingerprint"] == "print"
    best, _ = checkpoint.read_tensors(SnapshotFolder(tmp_path / "whole" / "snapshots").path(kept[-1]))
    model, _ = checkpoint.read_tensors(tmp_path / "whole" / checkpoint.MODEL)
    assert all(torch.equal(best[name], model[name]) for name in model)
    lines = (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 4  # six images in place of eight: one step an epoch
