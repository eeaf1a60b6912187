"""Tests that every plugin should pass, ours and third-party ones: subclass a tester, name the class, run pytest.

    from wsseg_cli.testing import MethodTester

    class TestMine(MethodTester):
        plugin = Mine
        options = {"width": 4}

Sizes are small; give options that make the network small too.
"""

# ruff: noqa: D102 (a test says in its name what holds)
from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from .data.images import read_image, read_mask
from .engine.frozen import computed
from .errors import DataError
from .plugin.protocols import (
    Arrays,
    Batch,
    Dataset,
    MaskRefiner,
    Method,
    Plugin,
    PluginOptions,
    Refiner,
    Segmenter,
    Trainable,
)
from .settings import AugmentSettings, InferSettings
from .types import IGNORE, ByteArray, ClassNames, Progress, Sample, ScoreMap

CLASSES = ClassNames(("cat", "dog", "cow"))
"""The classes of the made-up images."""


def made_up(number: int = 0, size: tuple[int, int] = (75, 90)) -> tuple[ByteArray, ByteArray]:
    """Return a noisy image (H, W, 3) and its mask (H, W), which shows classes 1 and 3 of `CLASSES`; uint8 both."""
    rng = np.random.default_rng(number)
    (height, width), mask = size, np.zeros(size, np.uint8)
    mask[height // 5 : height // 2, width // 6 : width // 2] = 1
    mask[height // 2 :, 2 * width // 3 :] = 3
    colours = np.array([[110, 130, 120], [200, 80, 60], [0, 0, 0], [60, 90, 200]])
    noise = rng.integers(-30, 30, (height, width, 3))
    return (colours[mask] + noise).clip(0, 255).astype(np.uint8), mask


class PluginTester:
    """What holds for every plugin: it has a docstring, describes each option, and refuses unknown ones."""

    plugin: ClassVar[type[Plugin[Any]]]
    options: ClassVar[Mapping[str, Any]] = {}

    def validated(self) -> PluginOptions:
        """Return the options of the test."""
        return self.plugin.Options(**self.options)

    def test_says_what_it_is(self) -> None:
        assert (self.plugin.__doc__ or "").strip(), f"{self.plugin.__name__} has no docstring; `plugins show` prints it"
        for name, field in self.plugin.Options.model_fields.items():
            assert field.description, f"option {name} has no description; `plugins show` prints it"

    def test_refuses_unknown_options(self) -> None:
        try:
            self.plugin.Options(**{**self.options, "no_such_option": 1})
        except ValidationError:
            return
        raise AssertionError("an unknown option was taken; Options must subclass PluginOptions")


class TrainableTester(PluginTester):
    """What holds for everything with a network: if it is trained, a step gives finite losses that reach the weights."""

    plugin: ClassVar[type[Trainable[Any, Any]]]
    augment: ClassVar[AugmentSettings] = AugmentSettings(flip=0.5, crop=64)

    def make(self) -> Any:
        """Return the plugin with the options of the test."""
        return self.plugin(self.validated(), CLASSES)

    def targets(self, image: ByteArray, mask: ByteArray) -> Arrays:
        """Return what training reads besides image and label; override it for targets of your own."""
        return {"saliency": (mask > 0).astype(np.uint8) * 255, "mask": mask}

    def extras(self, mask: ByteArray) -> dict[str, ByteArray]:
        """Return what inference reads besides the image, (H, W) uint8 each; override it for extras of your own."""
        return {name: (mask > 0).astype(np.uint8) * 255 for name in self.make().required.inference}

    def batch(self, plugin: Trainable[Any, Any]) -> Batch:
        """Return a batch of two made-up images as the loop would make it."""
        transform = plugin.train_transform(self.augment)
        rows = []
        for number in range(2):
            image, mask = made_up(number)
            label = np.array([1, 0, 1], np.float32)
            more = self.targets(image, mask)
            arrays = {"image": image, "label": label}
            arrays |= {k: v for k, v in more.items() if k in plugin.required.training or k.startswith("target/")}
            arrays |= {f"extra/{k}": mask for k in plugin.required.training - {"mask", "saliency"}}
            rows.append(dict(transform(arrays, np.random.default_rng(number))))
        batch: Batch = {key: torch.stack([row[key] for row in rows]) for key in rows[0]}
        return batch | {"image_id": ["a", "b"], "index": torch.arange(2)}

    def model(self, plugin: Trainable[Any, Any]) -> nn.Module:
        """Return the network with seeded weights and, if nothing is learnt, the buffers computed from them."""
        torch.manual_seed(0)
        model: nn.Module = plugin.build_model()
        if not plugin.required.trains:
            computed(plugin, model)
        return model

    def test_a_step_learns(self) -> None:
        plugin = self.make()
        if not plugin.required.trains:
            return
        model = self.model(plugin).train()
        progress = Progress(0, 10, 0)
        losses = plugin.training_step(model, self.batch(plugin), progress)
        assert losses and all(isinstance(name, str) for name in losses), "training_step returns {name: loss}"
        for name, loss in losses.items():
            assert isinstance(loss, Tensor) and loss.ndim == 0, f"loss {name} is not a scalar tensor"
            assert torch.isfinite(loss), f"loss {name} is {loss}"
        torch.stack(list(losses.values())).sum().backward()
        learns = [p for p in model.parameters() if p.grad is not None and bool((p.grad != 0).any())]
        assert learns, "no loss reaches a weight"
        plugin.after_step(model, progress)

    def test_weights_can_be_kept_and_read(self) -> None:
        plugin = self.make()
        if isinstance(plugin, Refiner) and not plugin.required.trains:
            return  # it has no network
        first, second = self.model(plugin), plugin.build_model()
        second.load_state_dict(first.state_dict(), strict=True)

    def test_every_weight_is_in_one_group(self) -> None:
        from .settings import OptimSettings

        plugin = self.make()
        if not plugin.required.trains:
            return
        model = self.model(plugin)
        groups = plugin.param_groups(model, OptimSettings(lr=0.1))
        ids = [id(p) for group in groups for p in group["params"]]
        assert len(ids) == len(set(ids)), "a weight stands in two parameter groups"
        learning = {id(p) for p in model.parameters() if p.requires_grad}
        assert learning <= set(ids), f"{len(learning - set(ids))} weights that learn are in no parameter group"


def check_score_map(scores: ScoreMap, size: tuple[int, int], labels: tuple[int, ...] | None) -> None:
    """Check what holds for every score map of an image of this size with these labels given."""
    assert tuple(scores.size) == size, f"size is {scores.size}, the image {size}"
    classes = np.asarray(scores.classes)
    assert scores.scores.ndim == 3 and len(scores.scores) == len(classes), "scores are (K, h, w), one map a class"
    assert (np.diff(classes) > 0).all(), f"classes {classes} are not ascending"
    if labels is not None:
        assert set(classes.tolist()) <= set(labels), f"classes {classes} beyond the given labels {labels}"
    values = np.asarray(scores.scores)
    assert np.isfinite(values).all() and (not values.size or (values.min() >= 0 and values.max() <= 1)), (
        "scores lie in [0, 1]"
    )


class MethodTester(TrainableTester):
    """What holds for every method: it trains, and gives score maps for any image, size and labels."""

    plugin: ClassVar[type[Method[Any, Any]]]

    def test_learns_from_images_without_a_label(self) -> None:
        plugin = self.make()
        if not plugin.required.trains:
            return
        batch = self.batch(plugin)
        batch["label"][1] = 0
        losses = plugin.training_step(self.model(plugin).train(), batch, Progress(0, 10, 0))
        for name, loss in losses.items():
            assert torch.isfinite(loss), f"loss {name} is {loss} with an image that shows none of the classes"

    def test_scores(self) -> None:
        plugin = self.make()
        model = self.model(plugin).eval()
        with torch.enable_grad() if plugin.required.gradients else torch.inference_mode():
            for size in ((75, 90), (64, 41)):
                image, mask = made_up(size=size)
                extras = self.extras(mask)
                for labels in ((0, 2), (1,), (), None):
                    infer = InferSettings(scales=(1.0, 0.5), flip=True)
                    scores = plugin.scores(model, image, labels, infer, **extras)
                    check_score_map(scores, size, labels)
                    again = plugin.scores(model, image, labels, infer, **extras)
                    assert np.array_equal(scores.scores, again.scores), "the same image gave another map"


class RefinerTester(TrainableTester):
    """What holds for every refiner; the training part is tested only if it learns."""

    plugin: ClassVar[type[Refiner[Any, Any]]]

    def test_refines(self) -> None:
        plugin = self.make()
        model = self.model(plugin).eval() if plugin.required.trains else None
        image, mask = made_up()
        for labels in ((0, 2), (2,), (), None):
            kept = (0, 2) if labels is None else labels
            maps = np.stack([0.7 * (mask == ClassNames.mask_value(n)) + 0.1 for n in kept] or [mask * 0.0])[: len(kept)]
            coarse = ScoreMap("", np.array(kept, np.int64), maps[:, ::4, ::4].astype(np.float32), mask.shape)
            with torch.enable_grad() if plugin.required.gradients else torch.inference_mode():
                refined = plugin.refine(model, image, labels, coarse, InferSettings(), **self.extras(mask))
            check_score_map(refined, mask.shape, labels)


class MaskRefinerTester(PluginTester):
    """What holds for every mask refiner: it gives a mask of the image's size with values of its classes."""

    plugin: ClassVar[type[MaskRefiner[Any]]]

    def prepare(self, image_id: str, mask: ByteArray) -> None:
        """Write what the plugin reads about an image; override it for files of your own."""

    def test_refines_masks(self) -> None:
        plugin = self.plugin(self.validated(), CLASSES)
        for number, size in enumerate(((75, 90), (64, 41))):
            _, mask = made_up(number, size)
            sample = Sample(f"image {number}", Path(f"{number}.png"), ())
            self.prepare(sample.image_id, mask)
            assert plugin.missing([sample.image_id]) == []
            refined = plugin.refine_mask(sample, mask.copy())
            assert refined.shape == mask.shape and refined.dtype == np.uint8, "refined masks are (H, W) uint8"
            assert refined[refined != IGNORE].max(initial=0) <= len(CLASSES), "values beyond the classes"
            assert np.array_equal(refined, plugin.refine_mask(sample, mask.copy())), "the same mask gave another one"


class SegmenterTester(TrainableTester):
    """What holds for every segmenter: it trains on masks and gives class scores at the size of the image."""

    plugin: ClassVar[type[Segmenter[Any, Any]]]

    def test_logits(self) -> None:
        plugin = self.make()
        model = self.model(plugin).eval()
        with torch.inference_mode():
            for size in ((75, 90), (64, 41)):
                image, _ = made_up(size=size)
                logits = plugin.logits(model, image, InferSettings(scales=(1.0, 0.5), flip=True))
                assert logits.shape == (1 + len(CLASSES), *size), f"logits are {logits.shape}, expected (1+C, H, W)"
                assert np.isfinite(logits).all()

    def test_what_export_writes(self) -> None:
        plugin = self.make()
        network = plugin.network(self.model(plugin)).eval()
        with torch.inference_mode():
            scores = network(torch.zeros(2, 3, 64, 80))
        assert scores.shape[:2] == (2, 1 + len(CLASSES)), f"class scores are {tuple(scores.shape)}"


class DatasetTester(PluginTester):
    """What holds for every data set: readable images, labels of its classes, masks that fit."""

    plugin: ClassVar[type[Dataset[Any]]]
    splits: ClassVar[tuple[str, ...]] = ("train", "val")
    first: ClassVar[int] = 20
    """Number of samples of each split that are opened."""

    def test_samples(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            dataset = self.plugin(self.validated(), Path(folder))
            classes = dataset.classes()
            for split in self.splits:
                samples = list(dataset.samples(split))
                assert samples, f"split {split!r} is empty"
                ids = [sample.image_id for sample in samples]
                assert len(ids) == len(set(ids)), f"an image id occurs twice in split {split!r}"
                assert ids == [s.image_id for s in dataset.samples(split)], "the order changes from call to call"
                for sample in samples[: self.first]:
                    assert all(0 <= label < len(classes) for label in sample.labels), sample
                    image = read_image(sample.image, sample.orientation)
                    if sample.mask is not None:
                        mask = read_mask(sample.mask)
                        assert mask.shape == image.shape[:2], f"{sample.image_id}: mask and image differ in size"
                        assert mask[mask != IGNORE].max(initial=0) <= len(classes), sample

    def test_refuses_an_unknown_split(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            dataset = self.plugin(self.validated(), Path(folder))
            try:
                list(dataset.samples("no-such-list"))
            except DataError:
                return
        raise AssertionError("an unknown split was accepted; raise wsseg_cli.errors.DataError")
