"""RecurSeed and the mixing by their properties (nothing of them was published), and training that survives a kill."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from pydantic import ValidationError
from torch import Tensor
from wsseg_rsepm.maps import inside_boxes, seed_maps, whole_boxes
from wsseg_rsepm.method import RecurSeedEPM
from wsseg_rsepm.mix import Pasting, decoder_probabilities, draw_pasting, edge_labels, steepest_step
from wsseg_rsepm.recur import certain_filter, reconstruction_loss, segmentation_loss, without_lost_classes
from wsseg_rsepm.step import first_pass, mixed_batch, recursion_losses, refined_targets

from wsseg_cli.engine import train_state
from wsseg_cli.engine.fit import Loop
from wsseg_cli.errors import RecipeError
from wsseg_cli.plugin.protocols import TrainingJob
from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings, RuntimeSettings, TrainSettings
from wsseg_cli.types import ClassNames, Progress, Sample

CLASSES = ClassNames(["a", "b", "c"])


def method(**options: Any) -> RecurSeedEPM:
    tiny = {
        "backbone": "small",
        "backbone_options": {"width": 4},
        "decoder_width": 8,
        "pamr_dilations": (1, 2),
        "ema_decay": 0.9,
        "recursion_epoch": 1,
        "mix_epoch": 2,
        "uncertain": 0.5,
        "certain": 0.55,
    }
    return RecurSeedEPM(RecurSeedEPM.Options(**tiny | options), CLASSES)


def batch(side: int = 32, count: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(1)
    labels = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 1]])[:count]
    boxes = torch.tensor([[0, 0, side, side], [4, 0, side, side - 8], [0, 0, side, side]])[:count]
    return {"image": torch.randn(count, 3, side, side), "label": labels, "box": boxes}


def test_certain_filter_has_three_regions() -> None:
    maps = torch.tensor([[[[0.0, 0.1, 0.3, 0.55, 0.2]], [[0.0, 0.05, 0.5, 0.2, 0.9]]]])
    inside = torch.tensor([[[True, True, True, True, True]]])
    assert certain_filter(maps, inside, 0.55, 0.1).tolist() == [[[0, 0, 255, 1, 2]]]
    inside[0, 0, 4] = False
    assert certain_filter(maps, inside, 0.55, 0.1)[0, 0, 4] == 255


def test_one_threshold_leaves_nothing_out() -> None:
    rule = method(certain_filter=False).rules
    assert rule.certain == rule.uncertain
    mask = certain_filter(torch.rand(2, 3, 8, 8), torch.ones(2, 8, 8) > 0, rule.certain, rule.uncertain)
    assert not (mask == 255).any()


def test_a_class_without_a_seed_makes_the_whole_image_doubtful() -> None:
    maps = torch.rand(2, 3, 4, 4)
    maps[0, 1] = 0
    mask = torch.zeros(2, 4, 4, dtype=torch.int64)
    labels = torch.tensor([[1.0, 1, 0], [1, 1, 1]])
    assert without_lost_classes(mask, maps, labels).float().mean((1, 2)).tolist() == [255, 0]


def test_seeds_peak_inside_the_box() -> None:
    cams = torch.zeros(1, 2, 4, 4)
    cams[:, :, 0, 0], cams[:, :, 3, 3] = 9.0, 1.0
    inside = torch.ones(1, 4, 4, dtype=torch.bool)
    inside[:, 0] = False
    seeds = seed_maps(cams, torch.tensor([[1.0, 0]]), inside)
    assert seeds[0, 0, 0, 0] == 0 and seeds[0, 0, 3, 3] == pytest.approx(1, abs=1e-4)
    assert (seeds[0, 1] == 0).all()


def test_reconstruction_counts_present_cells_only() -> None:
    maps = torch.zeros(1, 2, 2, 2, requires_grad=True)
    targets = torch.ones(1, 2, 4, 4)
    inside = torch.tensor([[[True, True], [False, False]]])
    assert reconstruction_loss(maps, targets, torch.tensor([[1.0, 0]]), inside) == 1
    assert reconstruction_loss(maps, targets * 0, torch.tensor([[1.0, 0]]), inside) == 0
    assert reconstruction_loss(maps, targets, torch.zeros(1, 2), inside) == 0


@pytest.mark.parametrize("at", ["image", "logits"])
def test_a_doubtful_batch_has_no_segmentation_loss(at: Any) -> None:
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss = segmentation_loss(logits, torch.full((1, 8, 8), 255), at)
    loss.backward()
    assert loss == 0 and logits.grad is not None and (logits.grad == 0).all()


def test_pasting_nothing_and_everything() -> None:
    images = torch.randn(2, 3, 4, 4)
    source = torch.tensor([1, 0])
    empty, full = torch.zeros(2, 4, 4) > 0, torch.ones(2, 4, 4) > 0
    assert torch.equal(Pasting(source, empty, source > -1).paste(images), images)
    assert torch.equal(Pasting(source, full, source > -1).paste(images), images[source])
    assert torch.equal(Pasting(source, full, source > -1).paste(images[:, 0]), images[source, 0])


def test_half_of_the_partners_classes_is_pasted() -> None:
    masks = torch.zeros(4, 6, 6, dtype=torch.int64)
    masks[0, 0], masks[0, 1], masks[0, 2] = 1, 2, 3
    masks[1, 3] = 2
    masks[2, 5] = 255
    for seed in range(6):
        torch.manual_seed(seed)
        drawn = draw_pasting(masks, 3)
        pasted = torch.where(drawn.region, masks[drawn.source], 0)
        for i, j in enumerate(drawn.source.tolist()):
            classes = set(pasted[i].unique().tolist()) - {0}
            assert len(classes) == (0 if i == j else {0: 2, 1: 1, 2: 0, 3: 0}[j])
            assert bool(drawn.mixed[i]) == bool(classes)


def test_decoder_probabilities_of_present_classes() -> None:
    logits, labels = torch.randn(2, 4, 3, 3), torch.tensor([[1.0, 0, 0], [0, 1, 1]])
    p = decoder_probabilities(logits, labels, (6, 6))
    torch.testing.assert_close(p.sum(1), torch.ones(2, 6, 6))
    assert (p[0, 2:] == 0).all() and (p[1, 1] == 0).all() and (p[:, 0] > 0).all()
    # enlarged first, then without the absent classes and to one: the other order weighs the cells differently
    full = F.interpolate(logits.softmax(1), size=(6, 6), mode="bilinear", align_corners=False)
    torch.testing.assert_close(p[0, 1], full[0, 1] / (full[0, 0] + full[0, 1]))


def test_edges_make_doubtful_pixels_certain() -> None:
    p = torch.full((1, 2, 4, 4), 0.5)
    p[:, 0, :, 2:], p[:, 1, :, 2:] = 0.2, 0.54
    inside = torch.ones(1, 4, 4, dtype=torch.bool)
    steps = steepest_step(p, inside)
    assert steps[0, 0].tolist() == pytest.approx([0, 0.3, 0.3, 0])
    assert edge_labels(p, steps, inside, 0.55, 0.2)[0, 0].tolist() == [255, 0, 1, 255]
    inside[:, :, 2:] = False
    assert (steepest_step(p, inside) == 0).all()


def test_the_step_grows_with_the_epochs_and_targets_carry_no_gradient() -> None:
    torch.manual_seed(0)
    for labels in ("certain", "edge"):
        rsepm = method(mix_labels=labels, mix_class_weight=1.0)
        model = rsepm.build_model().train()
        names = [set(rsepm.training_step(model, batch(), Progress(e, 9, e))) for e in range(3)]
        assert names[0] == {"cls"} and names[1] == {"cls", "rec", "seg"}
        assert names[2] == {"cls", "rec", "seg", "rec_mix", "seg_mix", "cls_mix"}
    data = batch()
    seen = first_pass(model, data["image"], data["label"], data["box"])
    targets = refined_targets(seen, rsepm.rules, mix=True)
    assert not targets.seeds.requires_grad and not targets.mask.requires_grad
    assert (targets.mask[1, -8:] == 255).all() and (targets.seeds[:, :, :, :] <= 1).all()
    assert (targets.seeds[0, 1:] == 0).all()
    sum(recursion_losses(seen, targets, rsepm.rules).values()).backward()
    assert model.classifier.weight.grad is not None and model.head.classifier.weight.grad is not None
    mixed = mixed_batch(seen, targets, rsepm.rules)
    assert not mixed.images.requires_grad and (mixed.mask[~mixed.mixed] == 255).all()


def test_boxes() -> None:
    images = torch.zeros(2, 3, 8, 8)
    assert inside_boxes(whole_boxes(images), images, (4, 4)).all()


def test_the_average_as_teacher_and_for_evaluation() -> None:
    rsepm = method(teacher="average", mix_epoch=0, recursion_epoch=0)
    model = rsepm.build_model().train()
    losses = rsepm.training_step(model, batch(), Progress(0, 9, 0))
    sum(losses.values()).backward()
    assert all(p.grad is None for p in model.average.parameters())
    for name, value in model.average.named_parameters():
        assert torch.equal(value, model.get_parameter(name))
    assert not model.average.training
    groups = rsepm.param_groups(model, OptimSettings(lr=0.01, weight_decay=1e-4))
    assert [g["lr"] for g in groups] == pytest.approx([0.01, 0.01, 0.1, 0.1])
    assert {g["weight_decay"] for g in groups} == {1e-4}
    own = {id(p) for p in model.average.parameters()}
    assert not any(id(p) in own for g in groups for p in g["params"])


@pytest.mark.parametrize("maps", ["decoder", "scg", "cam"])
def test_scores(maps: str) -> None:
    rsepm = method(maps=maps)
    model = rsepm.build_model().eval()
    image = np.random.default_rng(0).integers(0, 256, (30, 41, 3), np.uint8)
    infer = InferSettings(scales=(1.0, 0.5), flip=True)
    scores = rsepm.scores(model, image, (0, 2), infer)
    assert scores.classes.tolist() == [0, 2] and scores.size == (30, 41) and scores.scores.shape[0] == 2
    assert scores.scores.min() >= 0 and scores.scores.max() <= 1 and scores.background is None
    assert len(rsepm.scores(model, image, (), infer).classes) == 0
    predicted = method(maps=maps, class_threshold=1.0).scores(model, image, None, infer)
    assert len(predicted.classes) == 0 and predicted.scores.shape[0] == 0


@pytest.mark.parametrize("backbone", ["small", "efficientnet_lite0", "vgg16"])
def test_backbones(backbone: str) -> None:
    rsepm = method(backbone=backbone, backbone_options={"width": 4} if backbone == "small" else {}, ema_decay=None)
    out = rsepm.build_model().eval()(torch.randn(1, 3, 48, 48))
    assert out.mask_logits.shape[1] == 4 and out.cams.shape[1] == 3


def test_options_that_do_not_fit() -> None:
    with pytest.raises(ValidationError, match="needs ema_decay"):
        RecurSeedEPM.Options(teacher="average", ema_decay=None)
    with pytest.raises(ValidationError, match=r"uncertain 0.1 is above certain 0.05"):
        RecurSeedEPM.Options(certain=0.05)
    with pytest.raises(RecipeError, match="no feature map conv2"):
        method(backbone="vgg16", backbone_options={}, scg_feature_maps=("conv2",)).build_model()


class Killed(Exception):
    pass


@pytest.fixture
def stage(tmp_path: Path) -> Callable[[str], TrainingJob]:
    rng = np.random.default_rng(0)
    samples = []
    for i in range(6):
        path = tmp_path / f"{i}.png"
        Image.fromarray(rng.integers(0, 256, (30, 36, 3), np.uint8)).save(path)
        samples.append(Sample(str(i), path, (i % 3,)))
    settings = TrainSettings(
        weights="none",
        augment=AugmentSettings(resize_long=(28, 40), flip=0.5, crop=32),
        batch_size=3,
        max_steps=8,
        optim=OptimSettings(lr=0.01, momentum=0.9),
        save_every=2,
    )
    return lambda name: TrainingJob(tmp_path / name, samples, CLASSES, settings, seed=3)


@pytest.mark.parametrize("teacher", ["same", "average"])
def test_average_and_partners_survive_a_kill(
    stage: Callable[[str], TrainingJob], teacher: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # two steps an epoch: from the fifth on images are mixed, on both sides of the last checkpoint
    partners: list[list[int]] = []

    def recorded(masks: Tensor, num_classes: int) -> Pasting:
        pasting = draw_pasting(masks, num_classes)
        partners.append(torch.where(pasting.mixed, pasting.source, -1).tolist())
        return pasting

    monkeypatch.setattr("wsseg_rsepm.step.draw_pasting", recorded)
    loop = Loop(RuntimeSettings(workers=0, device="cpu", log_every=1), quiet=True)
    options = method(teacher=teacher).options
    whole = loop(RecurSeedEPM(options, CLASSES), stage("whole"))
    unbroken = partners[:]
    assert len(unbroken) == 4 and len({tuple(row) for row in unbroken}) > 1
    assert all(max(row) >= 0 for row in unbroken[1:])

    class Mortal(RecurSeedEPM):
        def after_step(self, model: Any, progress: Progress) -> None:
            super().after_step(model, progress)
            if progress.step == 6:
                raise Killed

    with pytest.raises(Killed):
        loop(Mortal(options, CLASSES), stage("killed"))
    assert train_state.last_folder(stage("killed").dir).name == "step_000006"  # type: ignore[union-attr]
    resumed = loop(RecurSeedEPM(options, CLASSES), stage("killed"))
    assert partners == unbroken + unbroken[:3] + unbroken[2:]
    want, got = whole.state_dict(), resumed.state_dict()
    assert any(name.startswith("average.") for name in want)
    for name, value in want.items():
        assert torch.equal(value, got[name]), name
    assert not torch.equal(want["classifier.weight"], want["average.classifier.weight"])
    logs = [(stage(name).dir / "metrics.jsonl").read_text() for name in ("whole", "killed")]
    assert logs[0] == logs[1] and "rec_mix" in logs[0]
