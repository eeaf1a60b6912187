"""The refiner psa: labels from score maps, its training step, its walk."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from wsseg_affinity.psa import PSA, Marginals

from wsseg_cli.engine.fit import Loop
from wsseg_cli.errors import CheckpointError, DataError, RecipeError
from wsseg_cli.ops.affinity import affinity_loss, feature_affinity, neighbour_pairs, pair_labels
from wsseg_cli.plugin.protocols import TrainingJob
from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings, RuntimeSettings, TrainSettings
from wsseg_cli.types import ClassNames, Progress, Sample, ScoreMap

CLASSES = ClassNames(["cat", "dog", "sofa"])
SIZE = (50, 61)
SMALL: dict[str, Any] = {"backbone": "small", "backbone_options": {"width": 4}}


def refiner(**options: Any) -> PSA:
    return PSA(PSA.Options(**{**SMALL, **options}), CLASSES)


def photo() -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 60, (*SIZE, 3)).astype(np.uint8)
    image[12:40, 15:45] += 150
    return image


def coarse(classes: tuple[int, ...] = (0, 2), value: float = 0.9) -> ScoreMap:
    scores = np.zeros((len(classes), *SIZE), np.float32)
    scores[:1, 16:34, 20:38] = value
    return ScoreMap("a", np.array(classes, np.int64), scores, SIZE)


def stage(folder: Path, images: int = 3, max_steps: int = 2) -> TrainingJob:
    Image.fromarray(photo()).save(folder / "a.png")
    samples = [Sample(f"sub/{n}", folder / "a.png", (0, 2)) for n in range(images)]
    settings = TrainSettings(
        weights="none",
        augment=AugmentSettings(crop=64, flip=0.5),
        batch_size=2,
        max_steps=max_steps,
        optim=OptimSettings(name="sgd", lr=0.01),
    )
    cams = {sample.image_id: replace(coarse(), image_id=sample.image_id) for sample in samples}
    return TrainingJob(folder / "train", samples, CLASSES, settings, cams=cams, fingerprint="f")


def loop() -> Loop:
    return Loop(RuntimeSettings(workers=0, device="cpu"), quiet=True)


def test_learns_from_score_maps_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    psa, where = refiner(), stage(tmp_path)
    psa.train(where, loop())
    labels = tmp_path / "train" / "labels"
    assert len(list((labels / "low").iterdir())) == len(list((labels / "high").iterdir())) == 3
    times = [path.stat().st_mtime_ns for path in sorted(labels.rglob("*.safetensors"))]
    (tmp_path / "train" / "model.safetensors").unlink()
    (labels / "high" / next((labels / "high").iterdir()).name).unlink()
    psa.train(where, loop())
    again = [path.stat().st_mtime_ns for path in sorted(labels.rglob("*.safetensors"))]
    assert sum(before != after for before, after in zip(times, again, strict=True)) == 2, "low and high of one image"
    assert (tmp_path / "train" / "model.safetensors").is_file()


def test_targets_are_read_on_demand_and_become_one_label_a_cell(tmp_path: Path) -> None:
    psa, where = refiner(), stage(tmp_path, images=1)
    seen: list[TrainingJob] = []
    psa.train(where, lambda trainable, given: seen.append(given))  # type: ignore[arg-type, func-returns-value]
    scores = seen[0].targets["scores"]
    assert isinstance(scores, Marginals) and list(scores) == ["sub/0"] and len(scores) == 1
    both = scores["sub/0"]
    assert both.shape == (6, *SIZE)
    np.testing.assert_allclose(both[:3].sum(0), 1, atol=2e-3)
    arrays = {"image": photo(), "label": np.zeros(3, np.float32), "target/scores": both}
    tensors = psa.train_transform(AugmentSettings(crop=64))(arrays, np.random.default_rng(0))
    mask = tensors["mask"]
    assert mask.shape == (8, 8) and mask.dtype == torch.int64 and "scores" not in tensors
    assert set(mask.unique().tolist()) == {0, 1, 255}, "object, background, and unknown outside the image"


@torch.no_grad()
def test_step_is_the_published_loss() -> None:
    psa = refiner(border="full")
    torch.manual_seed(0)
    model = psa.build_model()
    images = torch.randn(2, 3, 48, 64)
    mask = torch.randint(0, 3, (2, 6, 8))
    losses = psa.training_step(model, {"image": images, "mask": mask}, Progress(0, 1, 0))
    pairs = neighbour_pairs((6, 8), 5, "full")
    want = affinity_loss(feature_affinity(model(images), pairs), pair_labels(mask, pairs)).total
    assert sorted(losses) == ["background", "foreground", "negative"]
    assert float(sum(losses.values())) == pytest.approx(float(want))


def test_walk_keeps_classes_range_and_size() -> None:
    psa = refiner(steps_log2=2)
    model = psa.build_model().eval()
    with torch.inference_mode():
        walked = psa.refine(model, photo(), (0, 2), coarse(), InferSettings())
        one = psa.refine(model, photo(), (0,), coarse(), InferSettings())
    assert walked.classes.tolist() == [0, 2] and walked.scores.shape == (2, *SIZE)
    assert walked.background is not None and walked.background.shape == SIZE
    assert walked.scores.min() >= 0 and walked.scores.max() <= 1 and (walked.scores[1] == 0).all()
    assert one.classes.tolist() == [0]
    np.testing.assert_allclose(one.scores[0], walked.scores[0], atol=1e-6)


def test_max_norm_divides_each_class_and_leaves_the_background_out() -> None:
    plain, divided = refiner(), refiner(max_norm=True)
    model = plain.build_model().eval()
    with torch.no_grad():
        walked = plain.refine(model, photo(), (0,), coarse(), InferSettings())
        result = divided.refine(model, photo(), (0,), coarse(), InferSettings())
    assert walked.scores.max() < 1
    np.testing.assert_allclose(result.scores, walked.scores / walked.scores.max(), rtol=1e-6)
    assert result.background is None


def test_constant_background_of_ppc() -> None:
    psa = refiner(walk_threshold=0.27, steps_log2=0, beta=1e3)  # beta: next to no neighbour counts
    model = psa.build_model().eval()
    with torch.inference_mode():
        walked = psa.refine(model, photo(), None, coarse(), InferSettings())
    assert walked.background is not None and walked.background[:40, :48] == pytest.approx(0.27, abs=1e-3)


def test_crf_after_the_walk() -> None:
    psa = refiner(crf_iterations=1, steps_log2=2)
    model = psa.build_model().eval()
    with torch.inference_mode():
        walked = psa.refine(model, photo(), None, coarse(), InferSettings())
    assert walked.background is not None
    assert walked.scores.shape == (2, *SIZE) and (walked.scores.sum(0) + walked.background <= 1 + 1e-5).all()


@pytest.mark.parametrize("shrink", [False, True])
def test_image_too_small_for_any_pair_keeps_its_scores(shrink: bool) -> None:
    psa = refiner(shrink_radius=shrink)
    model = psa.build_model().eval()
    image = np.full((1, 1, 3), 90, np.uint8)
    scores = ScoreMap("a", np.array([1]), np.full((1, 1, 1), 0.5, np.float32), (1, 1))
    with torch.inference_mode():
        walked = psa.refine(model, image, None, scores, InferSettings())
    # the published pooling counts the 63 padded pixels of the only cell
    assert walked.scores.ravel().tolist() == pytest.approx([0.5 / 64])


def test_image_without_a_class_is_background() -> None:
    walked = refiner().refine(None, photo(), (), coarse(), InferSettings())
    assert len(walked.classes) == 0 and walked.background is not None and (walked.background == 1).all()


def test_parameter_groups_leave_the_new_layers_ten_times_the_rate() -> None:
    psa = refiner()
    model = psa.build_model()
    groups = psa.param_groups(model, OptimSettings(lr=0.01, weight_decay=5e-4))
    assert [group["lr"] for group in groups] == pytest.approx([0.01, 0.02, 0.1, 0.2])
    assert sum(len(group["params"]) for group in groups) == len(list(model.parameters()))


@pytest.mark.parametrize(("backbone", "options", "stride"), [("resnet38", {}, 8), ("resnet50", {}, 16)])
def test_stride_without_building_the_network(backbone: str, options: dict[str, Any], stride: int) -> None:
    assert PSA(PSA.Options(backbone=backbone, backbone_options=options), CLASSES).stride == stride


def test_what_cannot_be() -> None:
    with pytest.raises(ValidationError, match=r"low_alpha 8\.0 is above high_alpha 4\.0"):
        PSA.Options(low_alpha=8, high_alpha=4)
    with pytest.raises(ValidationError, match="unknown CRF preset"):
        PSA.Options(crf="psi")
    with pytest.raises(RecipeError, match=r"psa walks on the image at its own size"):
        refiner().refine(None, photo(), None, coarse(), InferSettings(flip=True))
    with pytest.raises(CheckpointError, match="trained network"):
        refiner().refine(None, photo(), None, coarse(), InferSettings())
    with pytest.raises(DataError, match="the image has 50 x 61"):
        refiner().refine(None, photo(), None, replace(coarse(), size=(9, 9)), InferSettings())


def test_failed_labels_are_named_and_the_others_kept(tmp_path: Path) -> None:
    where = stage(tmp_path)
    bad = {**where.cams, "sub/1": replace(coarse(), size=(9, 9))}  # type: ignore[dict-item]
    with pytest.raises(DataError, match=r"labels could not be made for 1 of 3 images(.|\n)*sub/1"):
        refiner().train(replace(where, cams=bad), loop())
    assert len(list((tmp_path / "train" / "labels" / "high").iterdir())) == 2
    with pytest.raises(DataError, match="no score maps"):
        refiner().train(replace(where, cams=None), loop())
