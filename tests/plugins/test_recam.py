"""ReCAM's loss against the paper's formula in numpy, its class weights, and how it starts, stops and goes on."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from wsseg_cam.method import CAM
from wsseg_recam.loss import class_features, softmax_cross_entropy
from wsseg_recam.method import ReCAM

from wsseg_cli.engine import checkpoint, train_state
from wsseg_cli.engine.fit import Loop
from wsseg_cli.plugin import FloatArray
from wsseg_cli.plugin.protocols import TrainingJob
from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings, RuntimeSettings, TrainSettings
from wsseg_cli.types import ClassNames, Progress, Sample

CLASSES = ClassNames(["a", "b", "c"])
SMALL: dict[str, Any] = {"backbone": "small", "backbone_options": {"width": 4}}
LABELS = torch.tensor([[1.0, 0, 0], [0, 1, 1], [0, 0, 0]])


def method(**options: Any) -> ReCAM:
    return ReCAM(ReCAM.Options(**SMALL, **options), CLASSES)


def batch(labels: Tensor = LABELS) -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {"image": torch.randn(len(labels), 3, 32, 40), "label": labels}


def by_the_formula(features: FloatArray, first: FloatArray, second: FloatArray, labels: FloatArray) -> float:
    """Return the softmax cross-entropy of a batch, image by image, class by class, cell by cell."""
    of_images = []
    for image, present in zip(features.astype(np.float64), labels, strict=True):
        of_classes = []
        for k in np.flatnonzero(present):
            cam = np.maximum(sum(first[k, d] * image[d] for d in range(len(image))), 0)
            weight = cam / (cam.max() + 1e-5)
            feature = np.array([(weight * channel).mean() for channel in image])
            scores = second @ feature
            of_classes.append(np.log(np.exp(scores).sum()) - scores[k])
        of_images.append(np.mean(of_classes) if of_classes else 0.0)
    return float(np.mean(of_images))


def test_loss_is_the_formula() -> None:
    draw = np.random.default_rng(0)
    features = draw.normal(size=(3, 6, 4, 5)).astype(np.float32)
    first, second = draw.normal(size=(2, 3, 6)).astype(np.float32)
    seen = class_features(torch.from_numpy(features), torch.from_numpy(first))
    loss = softmax_cross_entropy(seen @ torch.from_numpy(second).T, LABELS)
    assert float(loss) == pytest.approx(by_the_formula(features, first, second, LABELS.numpy()), rel=1e-5)


def test_the_step_is_the_formula_too() -> None:
    plugin = method(lam=0.5)
    model = plugin.build_model().eval()
    with torch.no_grad():
        features = model.backbone(batch()["image"])["conv6"].numpy()
        weights = (layer.weight.flatten(1).double().numpy() for layer in (model.fc8, model.fc_sce))
        want = 0.5 * by_the_formula(features, *weights, LABELS.numpy())
        assert float(plugin.training_step(model, batch(), Progress(0, 10, 0))["sce"]) == pytest.approx(want, rel=1e-4)


def test_gradient_reaches_both_layers_and_the_backbone() -> None:
    plugin = method()
    model = plugin.build_model()
    plugin.training_step(model, batch(), Progress(0, 10, 0))["sce"].backward()
    for weight in (model.fc8.weight, model.fc_sce.weight, next(model.backbone.parameters())):
        assert weight.grad is not None and weight.grad.count_nonzero() > 0


def test_gradient_flows_through_the_map() -> None:
    torch.manual_seed(0)
    features, first = torch.rand(1, 4, 3, 3, dtype=torch.float32), torch.randn(2, 4, requires_grad=True)
    second, one = torch.randn(2, 4), torch.tensor([[1.0, 0]])

    def loss(weight: Tensor) -> Tensor:
        return softmax_cross_entropy(class_features(features, weight) @ second.T, one)

    loss(first).backward()
    step = torch.zeros(2, 4)
    step[0, 1] = 1e-2
    with torch.no_grad():
        slope = (loss(first + step) - loss(first - step)) / 2e-2
    assert first.grad is not None
    assert float(first.grad[0, 1]) == pytest.approx(float(slope), rel=0.02)
    assert first.grad[1].count_nonzero() == 0  # an absent class's map has no part in the loss


def test_an_image_without_a_class_adds_0() -> None:
    logits = torch.randn(3, 3, 3)
    two = softmax_cross_entropy(logits[:2], LABELS[:2])
    torch.testing.assert_close(softmax_cross_entropy(logits, LABELS), two * 2 / 3)
    assert softmax_cross_entropy(logits, torch.zeros(3, 3)) == 0


def test_a_map_of_zeros() -> None:
    features = torch.rand(2, 4, 3, 3, requires_grad=True)
    weight = torch.cat([-torch.ones(1, 4), torch.zeros(1, 4), torch.ones(1, 4)]).requires_grad_()
    seen = class_features(features, weight)
    assert seen[:, :2].count_nonzero() == 0 and seen[:, 2].min() > 0
    softmax_cross_entropy(seen @ torch.ones(4, 3), torch.ones(2, 3)).backward()
    assert features.grad is not None and features.grad.isfinite().all()
    assert weight.grad is not None and weight.grad.isfinite().all()


def test_a_batch_is_the_mean_of_its_parts() -> None:
    """Processes average gradients over equal parts of a batch, whatever their images show; a part may be one image."""
    logits = torch.randn(3, 3, 3)
    parts = [softmax_cross_entropy(logits[n : n + 1], LABELS[n : n + 1]) for n in range(3)]
    torch.testing.assert_close(torch.stack(parts).mean(), softmax_cross_entropy(logits, LABELS))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_maps_are_summed_in_float32_under_autocast(dtype: torch.dtype) -> None:
    features, weight = torch.full((1, 2, 300, 300), 10.0, dtype=dtype), torch.ones(3, 2)
    with torch.autocast("cpu", dtype):
        seen = class_features(features, weight)
    assert seen.dtype == torch.float32
    torch.testing.assert_close(seen, torch.full((1, 3, 2), 10.0))


def test_a_step_under_autocast() -> None:
    plugin = method()
    model = plugin.build_model().eval()
    want = plugin.training_step(model, batch(), Progress(0, 10, 0))
    with torch.autocast("cpu", torch.bfloat16):
        got = plugin.training_step(model, batch(), Progress(0, 10, 0))
    for name, loss in want.items():
        torch.testing.assert_close(got[name], loss, rtol=0.02, atol=0, check_dtype=False)


def test_the_second_loss_waits() -> None:
    plugin = method(sce_after=5)
    model = plugin.build_model()
    assert plugin.training_step(model, batch(), Progress(5, 10, 0))["sce"] == 0
    assert plugin.training_step(model, batch(), Progress(6, 10, 0))["sce"] > 0
    assert method().training_step(model, batch(), Progress(0, 10, 0))["sce"] > 0


def test_both_layers_learn_from_zero() -> None:
    torch.manual_seed(0)
    plugin = method(head_init="zero")
    model = plugin.build_model()
    optimizer = torch.optim.SGD(plugin.param_groups(model, OptimSettings(lr=0.1)))
    three = {"image": torch.randn(3, 3, 1, 1).expand(3, 3, 32, 32), "label": torch.eye(3)}
    for step in range(20):
        losses = plugin.training_step(model, three, Progress(step, 20, 0))
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
    assert model.fc8.weight.count_nonzero() > 0
    assert float(losses["sce"].detach()) < math.log(3) / 2  # log 3: what scores of 0 give


@pytest.mark.parametrize("weights", ["product", "first", "second", "sum"])
def test_weights_of_the_maps(weights: Any) -> None:
    plugin = method(map_weights=weights)
    model = plugin.build_model().eval()
    first, second = model.fc8.weight.detach(), model.fc_sce.weight.detach()
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    got = plugin.scores(model, image, (0, 2), InferSettings(scales=(1.0, 0.5), flip=True))
    plain = CAM(CAM.Options(**SMALL, multiple=16), CLASSES)
    classifier = plain.build_model().eval()
    classifier.backbone = model.backbone
    combined = {"product": first * second, "first": first, "second": second, "sum": first + second}
    classifier.fc8.weight = nn.Parameter(combined[weights])
    want = plain.scores(classifier, image, (0, 2), InferSettings(scales=(1.0, 0.5), flip=True))
    np.testing.assert_allclose(got.scores, want.scores, rtol=0, atol=1e-5)
    assert got.strided is not None and want.strided is not None
    np.testing.assert_allclose(got.strided, want.strided, rtol=0, atol=1e-5)


def test_the_first_layer_predicts_the_classes() -> None:
    plugin = method()
    model = plugin.build_model().eval()
    image = np.random.default_rng(0).integers(0, 256, (32, 48, 3), np.uint8)
    with torch.no_grad():
        pixels = torch.from_numpy(plugin.normalization.apply(image).transpose(2, 0, 1).copy())
        mean = model.backbone(pixels[None])["conv6"].mean((2, 3))[0]
        for layer, signs in ((model.fc8, (1, -1, 1)), (model.fc_sce, (-1, 1, 1))):
            layer.weight.copy_((torch.tensor(signs, dtype=torch.float32)[:, None] * mean)[:, :, None, None])
    assert plugin.scores(model, image, None, InferSettings(scales=(1.0,), flip=False)).classes.tolist() == [0, 2]


def test_starts_from_a_plain_cam(tmp_path: Path) -> None:
    path = tmp_path / "cam.safetensors"
    classifier = CAM(CAM.Options(**SMALL), CLASSES).build_model()
    checkpoint.write_model(path, classifier, {"saw": "toy labels"})
    model = method().build_model()
    second = model.fc_sce.weight.clone()
    assert checkpoint.load_initial(model, str(path)) == "toy labels; head: 1 of 2 tensors"
    assert torch.equal(model.fc8.weight, classifier.fc8.weight) and torch.equal(model.fc_sce.weight, second)
    of_more_classes = ReCAM(ReCAM.Options(**SMALL), ClassNames(["a", "b", "c", "d"])).build_model()
    assert checkpoint.load_initial(of_more_classes, str(path)) == "toy labels"


class Killed(Exception):
    """Stands for the end of a process."""


class Mortal(ReCAM):
    """Dies in its third step."""

    def training_step(self, model: Any, batch: Any, progress: Progress) -> dict[str, Tensor]:
        if progress.step == 2:
            raise Killed
        return super().training_step(model, batch, progress)


def test_a_killed_training_goes_on(tmp_path: Path) -> None:
    draw, samples = np.random.default_rng(0), []
    for number, present in enumerate([(0,), (1, 2), (2,), (0, 1)]):
        path = tmp_path / f"{number}.png"
        Image.fromarray(draw.integers(0, 256, (40, 44, 3), np.uint8)).save(path)
        samples.append(Sample(str(number), path, present))
    settings = TrainSettings(
        weights="none",
        augment=AugmentSettings(crop=32, flip=0.5),
        batch_size=2,
        max_steps=4,
        optim=OptimSettings(name="adamw", lr=1e-3),
        save_every=1,
    )
    loop, options = Loop(RuntimeSettings(device="cpu", workers=0), quiet=True), ReCAM.Options(**SMALL, sce_after=1)

    def job(name: str) -> TrainingJob:
        return TrainingJob(tmp_path / name, samples, CLASSES, settings, seed=3, fingerprint="print")

    loop(ReCAM(options, CLASSES), job("whole"))
    with pytest.raises(Killed):
        loop(Mortal(options, CLASSES), job("broken"))
    assert train_state.last_folder(tmp_path / "broken") is not None
    loop(ReCAM(options, CLASSES), job("broken"))
    whole, broken = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken"))
    assert whole == broken
