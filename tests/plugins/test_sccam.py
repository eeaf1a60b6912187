from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from torch import Tensor, nn
from wsseg_cam.method import CAM
from wsseg_sccam.method import SCCAM

from wsseg_cli.engine import checkpoint
from wsseg_cli.engine.fit import Loop
from wsseg_cli.errors import CheckpointError, DataError
from wsseg_cli.plugin.protocols import TrainingJob
from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings, RuntimeSettings, TrainSettings
from wsseg_cli.types import ClassNames, Progress, Sample

CLASSES = ClassNames(["cat", "dog"])
SMALL: dict[str, Any] = {"backbone": "small", "backbone_options": {"width": 4}, "subcategories": 2, "restarts": 2}


def method(**options: Any) -> SCCAM:
    return SCCAM(SCCAM.Options(**SMALL, **options), CLASSES)


@pytest.fixture
def samples(tmp_path: Path) -> list[Sample]:
    rng = np.random.default_rng(0)
    labels = ((0,), (1,), (0, 1), (0,), (1,), (0, 1), (), (1,))
    made = []
    for number, present in enumerate(labels):
        pixels = rng.integers(0, 256, (3, 4, 3), dtype=np.uint8)
        path = tmp_path / "photos" / f"{number}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(pixels).resize((40 + number, 32), Image.Resampling.BICUBIC).save(path)
        made.append(Sample(f"set/{number}", path, present))
    return made


def stage(folder: Path, samples: list[Sample], **settings: Any) -> TrainingJob:
    given: dict[str, Any] = {
        "weights": "none",
        "augment": AugmentSettings(crop=32, flip=0.5),
        "batch_size": 3,
        "max_steps": 4,
        "optim": OptimSettings(name="adamw", lr=1e-3),
        "save_every": 1,
    }
    return TrainingJob(folder, samples, CLASSES, TrainSettings(**(given | settings)), seed=3, fingerprint="print")


def loop() -> Loop:
    return Loop(RuntimeSettings(device="cpu", workers=0, log_every=1), quiet=True)


class Killed(Exception):
    """Stands for the end of a process."""


class Mortal(SCCAM):
    """Dies in a step, counted over all rounds."""

    lives = 0

    def training_step(self, model: nn.Module, batch: dict[str, Any], progress: Progress) -> dict[str, Tensor]:
        self.lives -= 1
        if self.lives < 0:
            raise Killed
        return super().training_step(model, batch, progress)


def files(folder: Path) -> list[str]:
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_rounds_and_what_they_leave(tmp_path: Path, samples: list[Sample]) -> None:
    method(rounds=2, earlier_steps=(2,), extractor_steps=3, extractor_crop=24).train(stage(tmp_path, samples), loop())
    run = [name for name in files(tmp_path) if not name.startswith("photos")]
    assert run == [
        "metrics.jsonl",
        "model.safetensors",
        "round_0/metrics.jsonl",
        "round_0/model.safetensors",
        "round_1/clusters.json",
        "round_1/features.safetensors",
        "round_1/metrics.jsonl",
        "round_1/model.safetensors",
        "round_2/clusters.json",
        "round_2/features.safetensors",
    ]
    steps = {name: checkpoint.read_header(tmp_path / name / "model.safetensors")["steps"] for name in ("", "round_0")}
    assert steps == {"": 4, "round_0": 3}
    assert checkpoint.read_header(tmp_path / "round_1/model.safetensors")["steps"] == 2

    said = json.loads((tmp_path / "round_1/clusters.json").read_text())
    assert said["clusters"].keys() == {s.image_id for s in samples if s.labels}
    assert set(said["clusters"]["set/2"]) == {"cat", "dog"}
    assert [sum(counts) for counts in said["images_in_cluster"].values()] == [4, 5]
    assert list(said["clusters"])[:4] == ["set/0", "set/2", "set/3", "set/5"]  # class by class
    assert json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0]).keys() >= {"parent", "sub"}


@pytest.mark.parametrize("lives", [1, 3, 6])
def test_a_round_goes_on_where_it_was_killed(tmp_path: Path, samples: list[Sample], lives: int) -> None:
    options = SCCAM.Options(**SMALL, rounds=2, earlier_steps=(3,), extractor_steps=2)
    SCCAM(options, CLASSES).train(stage(tmp_path / "whole", samples), loop())
    mortal = Mortal(options, CLASSES)
    mortal.lives = lives
    with pytest.raises(Killed):
        mortal.train(stage(tmp_path / "broken", samples), loop())
    assert not (tmp_path / "broken/model.safetensors").exists()
    mortal.lives = 100
    mortal.train(stage(tmp_path / "broken", samples), loop())
    assert mortal.lives == 100 - (3 + 4 - lives)  # no step is done twice

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert files(whole) == files(broken)
    for name in files(whole):
        if name.endswith(("metrics.jsonl", "clusters.json")):
            assert (whole / name).read_text() == (broken / name).read_text(), name
        elif name.endswith(".safetensors"):
            one, other = checkpoint.read_tensors(whole / name)[0], checkpoint.read_tensors(broken / name)[0]
            assert all(torch.equal(one[key], other[key]) for key in one), name


def test_old_clusters_are_made_anew(tmp_path: Path, samples: list[Sample]) -> None:
    learner = method(rounds=1, extractor_steps=1)
    learner.train(stage(tmp_path, samples), loop())
    before = (tmp_path / "round_1/clusters.json").stat().st_mtime_ns
    learner.train(stage(tmp_path, samples), loop())
    assert (tmp_path / "round_1/clusters.json").stat().st_mtime_ns == before
    other = stage(tmp_path, samples)
    learner.train(TrainingJob(**{**other.__dict__, "fingerprint": "another"}), loop())
    assert "another" in json.loads((tmp_path / "round_1/clusters.json").read_text())["fingerprint"]


def test_extractor_from_a_file(tmp_path: Path, samples: list[Sample]) -> None:
    classifier = CAM(CAM.Options(backbone="small", backbone_options={"width": 4}), ClassNames(["a", "b", "c"]))
    path = tmp_path / "psa.safetensors"
    checkpoint.write_model(path, classifier.build_model(), {})
    method(rounds=1, extractor=str(path)).train(stage(tmp_path / "run", samples), loop())
    assert not (tmp_path / "run/round_0").exists()
    with pytest.raises(CheckpointError, match="no such file"):
        method(rounds=1, extractor="nowhere.safetensors").train(stage(tmp_path / "other", samples), loop())


def test_images_that_cannot_be_read(tmp_path: Path, samples: list[Sample]) -> None:
    classifier = CAM(CAM.Options(backbone="small", backbone_options={"width": 4}), CLASSES)
    path = tmp_path / "psa.safetensors"
    checkpoint.write_model(path, classifier.build_model(), {})
    samples[3].image.write_bytes(b"")
    with pytest.raises(DataError, match=r"1 of 7 images.*set/3"):
        method(rounds=1, extractor=str(path)).train(stage(tmp_path / "run", samples), loop())


def test_a_class_of_few_images(tmp_path: Path, samples: list[Sample]) -> None:
    many = SCCAM(SCCAM.Options(**(SMALL | {"subcategories": 5}), rounds=1, extractor_steps=1), CLASSES)
    with pytest.warns(UserWarning, match="fewer than 5 images of cat:"):
        many.train(stage(tmp_path, samples), loop())


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(ValidationError, match="3 rounds have 2 before the last"):
        SCCAM.Options(earlier_steps=(5,))
    with pytest.raises(ValidationError, match="extractor: train"):
        SCCAM.Options(extractor="a.safetensors", extractor_steps=5)


def test_output_is_the_map_of_the_class() -> None:
    learner = method()
    model = learner.build_model().eval()
    image = np.random.default_rng(0).integers(0, 256, (33, 41, 3), dtype=np.uint8)
    scores = learner.scores(model, image, (1,), InferSettings(scales=(1.0, 0.5), flip=True))
    assert scores.classes.tolist() == [1] and scores.scores.shape == (1, 33, 41)
    assert 0 <= scores.scores.min() <= scores.scores.max() <= 1
