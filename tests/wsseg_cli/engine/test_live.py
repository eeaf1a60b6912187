"""Pictures of a training in TensorBoard: they are there, and the training does not notice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from made_up_run import write_run

from wsseg_cli.data.index import read_index
from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.engine.fit import Loop
from wsseg_cli.engine.live import log_pictures
from wsseg_cli.plugin import discovery
from wsseg_cli.plugin.protocols import TrainingJob
from wsseg_cli.run.records import metrics
from wsseg_cli.settings import OptimSettings, RuntimeSettings, TrainSettings

SMALL = {"backbone": "small", "backbone_options": {"width": 8}}


def plugin_and_stage(group: str, name: str, options: dict[str, object], folder: Path, run: Path) -> tuple:
    index = read_index(run / "prepare")
    cls = discovery.load(group, name)
    settings = TrainSettings(
        weights="none", batch_size=2, max_steps=4, save_every=2, optim=OptimSettings(name="adamw", lr=0.01)
    )
    stage = TrainingJob(folder, index.samples("train", "val"), index.classes, settings, cams=ScoreStore(run / "cam"))
    return cls(cls.Options(**options), index.classes), stage


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("group", "name", "options"),
    [
        ("methods", "cam", SMALL | {"dropout": 0.3}),
        ("methods", "onestage", SMALL | {"pad_size": None, "warmup_epochs": 0}),
        ("segmenters", "deeplabv2", SMALL | {"form": "v2_small"}),
    ],
    ids=["cam", "onestage", "deeplabv2"],
)
def test_pictures_change_nothing(tmp_path: Path, run: Path, group: str, name: str, options: dict[str, object]) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    models = []
    for tracker in ("none", "tensorboard"):
        folder = tmp_path / tracker
        plugin, stage = plugin_and_stage(group, name, options, folder, run)
        Loop(RuntimeSettings(workers=0, device="cpu", tracker=tracker), quiet=True)(plugin, stage)
        models.append((folder / "model.safetensors").read_bytes())
    assert models[0] == models[1]
    assert not (tmp_path / "none" / "tracker").exists()
    board = events.EventAccumulator(str(tmp_path / "tensorboard" / "tracker"), size_guidance={"images": 0}).Reload()
    assert len(board.Tags()["images"]) == 4
    shown = board.Images("made/up0")
    assert [picture.step for picture in shown] == [2, 4]
    assert (shown[0].width, shown[0].height) == (64, 24)
    assert "lr" in board.Tags()["scalars"]


def test_the_norm_of_clipped_gradients_is_recorded(tmp_path: Path, run: Path) -> None:
    models = []
    for clip in (None, 1e9, 1e-4):
        folder = tmp_path / str(clip)
        plugin, stage = plugin_and_stage("methods", "cam", SMALL, folder, run)
        optim = stage.settings.optim.model_copy(update={"name": "sgd", "grad_clip": clip})
        stage = replace(stage, settings=stage.settings.model_copy(update={"optim": optim}))
        Loop(RuntimeSettings(workers=0, device="cpu", log_every=1), quiet=True)(plugin, stage)
        models.append((folder / "model.safetensors").read_bytes())
        norms = [row.get("grad_norm") for row in metrics(folder / "metrics.jsonl")]
        assert len(norms) == 4 and all((norm is None) if clip is None else (norm > 0) for norm in norms)
    assert models[0] == models[1] != models[2]


class Board:
    name = "tensorboard"

    def __init__(self) -> None:
        self.shown: dict[str, tuple[int, ...]] = {}

    def log_images(self, values: dict, step: int, dataformats: str) -> None:
        self.shown |= {image_id: picture.shape for image_id, picture in values.items()}


def test_modes_come_back_and_refiners_are_shown(tmp_path: Path, run: Path) -> None:
    plugin, stage = plugin_and_stage("refiners", "pamr", {}, tmp_path / "refine", run)
    model = torch.nn.Sequential(torch.nn.Dropout(), torch.nn.BatchNorm2d(3).eval())
    board = Board()
    log_pictures([board], plugin, model, stage, 1)
    assert [module.training for module in model.modules()] == [True, True, False]
    assert board.shown == {f"made/up{number}": (1, 24, 64, 3) for number in range(4)}


def test_a_finished_training_leaves_no_states(tmp_path: Path, run: Path) -> None:
    plugin, stage = plugin_and_stage("methods", "cam", SMALL, tmp_path / "job", run)
    stage = replace(stage, fingerprint="of these settings")
    loop = Loop(RuntimeSettings(workers=0, device="cpu"), quiet=True)
    loop(plugin, stage)
    model = (tmp_path / "job" / "model.safetensors").read_bytes()
    (tmp_path / "job" / "step_000003").mkdir()  # as after a kill, or a full quota, before the states were removed
    loop(plugin, stage)
    assert not list((tmp_path / "job").glob("step_*"))
    assert (tmp_path / "job" / "model.safetensors").read_bytes() == model
