"""The refiner irn: labels from score maps, its training step, its walk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from wsseg_affinity.irn import IRN, LabelMasks
from wsseg_affinity.irn_labels import irn_confident_labels
from wsseg_affinity.irn_loss import irn_loss

from wsseg_cli.engine.fit import Loop
from wsseg_cli.errors import CheckpointError, RecipeError
from wsseg_cli.ops.affinity import pair_labels
from wsseg_cli.ops.paths import path_pairs
from wsseg_cli.plugin.protocols import TrainingJob
from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings, RuntimeSettings, TrainSettings
from wsseg_cli.types import ClassNames, Progress, Sample, ScoreMap, resize_scores

CLASSES = ClassNames(["cat", "dog", "sofa"])
SIZE = (50, 61)
SMALL: dict[str, Any] = {"backbone": "small", "backbone_options": {"width": 4}, "padded": 16, "radius": 4}


def refiner(**options: Any) -> IRN:
    return IRN(IRN.Options(**{**SMALL, **options}), CLASSES)


def photo() -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 60, (*SIZE, 3)).astype(np.uint8)
    image[12:40, 15:45] += 150
    return image


def coarse(classes: tuple[int, ...] = (0, 2)) -> ScoreMap:
    scores = np.zeros((len(classes), *SIZE), np.float32)
    scores[:1, 16:34, 20:38] = 0.9
    return ScoreMap("a", np.array(classes, np.int64), scores, SIZE)


def stage(folder: Path) -> TrainingJob:
    Image.fromarray(photo()).save(folder / "a.png")
    samples = [Sample(f"sub/{n}", folder / "a.png", (0, 2)) for n in range(3)]
    settings = TrainSettings(
        weights="none",
        augment=AugmentSettings(scale_range=(0.8, 1.2), crop=64, flip=0.5),
        batch_size=2,
        max_steps=2,
        optim=OptimSettings(name="sgd", lr=0.01),
    )
    cams = {sample.image_id: replace(coarse(), image_id=sample.image_id) for sample in samples}
    return TrainingJob(folder / "train", samples, CLASSES, settings, cams=cams, fingerprint="f")


@pytest.mark.parametrize("network", ["irn", "rsepm"])
def test_learns_from_score_maps(tmp_path: Path, network: str) -> None:
    irn, where = refiner(network=network), stage(tmp_path)
    untrained = irn.build_model().backbone.state_dict()
    irn.train(where, Loop(RuntimeSettings(workers=0, device="cpu"), quiet=True))
    assert len(list((tmp_path / "train" / "labels").iterdir())) == 3
    assert (tmp_path / "train" / "model.safetensors").is_file()
    assert set(untrained) == set(irn.build_model().backbone.state_dict())


def test_targets_are_the_published_labels_at_a_quarter(tmp_path: Path) -> None:
    irn, where = refiner(), stage(tmp_path)
    seen: list[TrainingJob] = []
    irn.train(where, lambda trainable, given: seen.append(given))  # type: ignore[arg-type, func-returns-value]
    masks = seen[0].targets["mask"]
    assert isinstance(masks, LabelMasks) and len(masks) == 3
    want = irn_confident_labels(photo(), coarse().scores, coarse().classes)
    np.testing.assert_array_equal(masks["sub/0"], want)
    assert {0, 1} <= set(np.unique(want).tolist())
    arrays = {"image": photo(), "label": np.zeros(3, np.float32), "target/mask": np.zeros(SIZE, np.uint8)}
    arrays["target/mask"][2::4, 2::4] = 3
    mask = irn.train_transform(AugmentSettings(crop=48))(arrays, np.random.default_rng(3))["mask"]
    assert mask.shape == (12, 12) and mask.dtype == torch.int64
    whole = irn.train_transform(AugmentSettings())(
        {**arrays, "image": photo()[:48, :60], "target/mask": arrays["target/mask"][:48, :60]}, np.random.default_rng(3)
    )["mask"]
    assert (whole == 3).all(), "Pillow's nearest rule takes pixel 4 i + 2"


@torch.no_grad()
def test_step_is_the_published_loss() -> None:
    irn = refiner()
    torch.manual_seed(0)
    model = irn.build_model()
    images, mask = torch.randn(2, 3, 48, 64), torch.randint(0, 3, (2, 12, 16))
    losses = irn.training_step(model, {"image": images, "mask": mask}, Progress(0, 1, 0))
    pairs = path_pairs((12, 16), 4)
    edge, field = model(images)
    want = irn_loss(edge, field, pair_labels(mask, pairs), pairs).total
    assert float(sum(losses.values())) == pytest.approx(float(want))
    alone = refiner(network="rsepm")
    assert sorted(alone.training_step(alone.build_model(), {"image": images, "mask": mask}, Progress(0, 1, 0))) == [
        "background",
        "foreground",
        "negative",
    ]


def test_walk_is_divided_by_its_one_maximum() -> None:
    irn = refiner(steps_log2=2)
    model = irn.build_model().eval()
    with torch.inference_mode():
        walked = irn.refine(model, photo(), (0, 2), coarse(), InferSettings(flip=True))
    assert walked.classes.tolist() == [0, 2] and walked.scores.shape == (2, *SIZE) and walked.background is None
    assert walked.scores.max() == pytest.approx(1) and (walked.scores[1] == 0).all()


def test_walk_begins_from_the_second_resolution_where_there_is_one() -> None:
    irn, small = refiner(steps_log2=2), ((SIZE[0] - 1) // 4 + 1, (SIZE[1] - 1) // 4 + 1)
    strided = np.random.default_rng(0).random((len(coarse().classes), *small), np.float32)
    np.testing.assert_array_equal(irn.walk_start(replace(coarse(), strided=strided)), strided)
    np.testing.assert_array_equal(irn.walk_start(coarse()), resize_scores(coarse().scores, small))
    model = irn.build_model().eval()
    with torch.inference_mode():
        both = [
            irn.refine(model, photo(), (0, 2), c, InferSettings())
            for c in (coarse(), replace(coarse(), strided=strided))
        ]
    assert not np.array_equal(both[0].scores, both[1].scores)


def test_eps_of_the_group_norms() -> None:
    for options, eps in (({}, 1e-5), ({"network": "rsepm"}, 1e-3), ({"network": "rsepm", "norm_eps": 1e-5}, 1e-5)):
        norms = [m for m in refiner(**options).build_model().modules() if isinstance(m, torch.nn.GroupNorm)]
        assert norms and {m.eps for m in norms[:5]} == {eps}


def test_edge_cases_of_images() -> None:
    irn = refiner()
    model = irn.build_model().eval()
    nothing = irn.refine(None, photo(), (), coarse(), InferSettings())
    assert len(nothing.classes) == 0 and nothing.scores.shape == (0, *SIZE)
    image = np.full((1, 1, 3), 90, np.uint8)
    with torch.inference_mode():
        dot = ScoreMap("a", np.array([1]), np.full((1, 1, 1), 0.5, np.float32), (1, 1))
        assert irn.refine(model, image, None, dot, InferSettings()).scores.tolist() == [[[1.0]]]
        zero = replace(dot, scores=np.zeros((1, 1, 1), np.float32))
        assert irn.refine(model, image, None, zero, InferSettings()).scores.tolist() == [[[0.0]]]


def test_parameter_groups() -> None:
    irn = refiner()
    model = irn.build_model()
    groups = irn.param_groups(model, OptimSettings(lr=0.1))
    assert [group["lr"] for group in groups] == pytest.approx([0.1, 1.0])
    learning = sum(len(group["params"]) for group in groups)
    assert learning == sum(1 for p in model.parameters() if p.requires_grad)
    alone = refiner(network="rsepm")
    assert len(alone.param_groups(alone.build_model(), OptimSettings(lr=0.1))) == 1


def test_what_cannot_be() -> None:
    with pytest.raises(ValidationError, match="is above foreground"):
        IRN.Options(foreground=0.1, background=0.2)
    with pytest.raises(ValidationError, match="starts from scores"):
        IRN.Options(crf="psa")
    with pytest.raises(RecipeError, match="irn walks on the image at its own size"):
        refiner().refine(None, photo(), None, coarse(), InferSettings(scales=(0.5, 1.0)))
    with pytest.raises(CheckpointError, match="trained network"):
        refiner().refine(None, photo(), None, coarse(), InferSettings())
    with pytest.raises(RecipeError, match="conv2"):
        refiner(backbone="resnet38", backbone_options={}).build_model()
