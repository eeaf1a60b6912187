"""DeepLab as a segmenter: what each entry point builds, which parameters learn how fast, one step, one photo."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from wsseg_deeplab.fused import scaled_exactly
from wsseg_deeplab.segmenter import DeepLab, DeepLabV1, DeepLabV2, DeepLabV2AsppBN, DeepLabV3Plus
from wsseg_deeplab.training import OF_FORM, TRAININGS, param_groups

from wsseg_cli.data.files import to_header
from wsseg_cli.engine.checkpoint import load_initial
from wsseg_cli.engine.fit import Loop
from wsseg_cli.errors import WssegError
from wsseg_cli.nets import CAFFE, deeplab
from wsseg_cli.plugin.discovery import find
from wsseg_cli.plugin.protocols import TrainingJob
from wsseg_cli.settings import AugmentSettings, InferSettings, OptimSettings, RuntimeSettings, TrainSettings
from wsseg_cli.types import IMAGENET, ClassNames, Progress, Sample

CLASSES = ClassNames(["disc", "ring"])
NARROW = {"width": 4}
ENTRIES: dict[str, type[DeepLab]] = {
    "deeplabv1": DeepLabV1,
    "deeplabv2": DeepLabV2,
    "deeplabv2_aspp_bn": DeepLabV2AsppBN,
    "deeplabv3plus": DeepLabV3Plus,
}


def segmenter(cls: type[DeepLab] = DeepLabV2, **options: Any) -> DeepLab:
    return cls(cls.Options(**{"backbone": "small", **options}), CLASSES)


def batch(side: int = 33, ignore: bool = False) -> dict[str, Any]:
    torch.manual_seed(0)
    mask = torch.full((2, side, side), 255) if ignore else torch.randint(3, (2, side, side))
    return {"image": torch.randn(2, 3, side, side), "mask": mask, "image_id": ["a", "b"]}


def test_entry_points_are_installed() -> None:
    found = {plugin.name: plugin.target for plugin in find("segmenters")}
    assert {name: f"wsseg_deeplab.segmenter:{cls.__name__}" for name, cls in ENTRIES.items()}.items() <= found.items()


@pytest.mark.parametrize("cls", list(ENTRIES.values()))
def test_zero_start_gives_equal_logits_and_learns(cls: type[DeepLab]) -> None:
    plugin = segmenter(cls, head_init="zero")
    model = plugin.build_model().train()
    loss = plugin.training_step(model, batch(), Progress(0, 1, 0, 0))["ce"]
    assert loss.item() == pytest.approx(np.log(3), abs=1e-5)
    loss.backward()
    assert sum(p.grad.abs().sum() for p in model.head.parameters() if p.grad is not None) > 0


def test_every_form_has_its_training() -> None:
    assert set(OF_FORM) == set(deeplab.FORMS) and set(OF_FORM.values()) | {"plain"} == set(TRAININGS)


@pytest.mark.parametrize(
    ("cls", "backbone", "form", "training", "normalization"),
    [
        (DeepLabV1, "resnet38", "v1", "wseg", IMAGENET),
        (DeepLabV1, "resnet101", "v1", "wseg", IMAGENET),
        (DeepLabV1, "vgg16", "v1_vgg16", "caffe", CAFFE),
        (DeepLabV2, "resnet101", "v2", "deeplab_pytorch", CAFFE),
        (DeepLabV2, "vgg16", "v2_vgg16", "caffe", CAFFE),
        (DeepLabV2, "small", "v2", "plain", IMAGENET),
        (DeepLabV2AsppBN, "resnet101", "v2_aspp_bn", "wseg", IMAGENET),
        (DeepLabV3Plus, "resnet101", "v3plus", "v3plus", IMAGENET),
    ],
)
def test_published_backbones_are_treated_as_published(
    cls: type[DeepLab], backbone: str, form: str, training: str, normalization: Any
) -> None:
    made = segmenter(cls, backbone=backbone)
    assert (made.form, made.training, made.normalization) == (form, TRAININGS[training], normalization)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "v2_smal"}, "did you mean 'v2_small'"),
        ({"training": "wsegg"}, "did you mean 'wseg'"),
        ({"multi_scale": (0.5, 1.5)}, "between 0 and 1"),
        ({"batch_norm": "half"}, "published"),
    ],
)
def test_unknown_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segmenter(**options)


def rates(made: DeepLab, lr: float = 1.0, weight_decay: float = 0.5) -> list[tuple[int, float, float]]:
    groups = made.param_groups(made.build_model(), OptimSettings(name="sgd", lr=lr, weight_decay=weight_decay))
    return [(len(g["params"]), g["lr"], g.get("weight_decay", weight_decay)) for g in groups]


def test_groups_of_seam_on_resnet38() -> None:
    # tensors as counted in the released code: 43 of the backbone, no biases, 3 of the head and its one bias
    assert rates(segmenter(DeepLabV1, backbone="resnet38", backbone_options=NARROW)) == [
        (43, 1, 0.5),
        (0, 2, 0),
        (3, 10, 0.5),
        (1, 20, 0),
    ]


def test_groups_of_v3plus() -> None:
    made = segmenter(DeepLabV3Plus, training="v3plus")
    model = made.build_model()
    rest, classifier = made.param_groups(model, OptimSettings(name="sgd", lr=1.0, weight_decay=0.5))
    assert {id(p) for p in classifier["params"]} == {id(p) for p in model.head.classifier.parameters()}
    assert len(rest["params"]) + 2 == len(list(model.parameters())) and classifier["lr"] == 10 and rest["lr"] == 1


def test_groups_of_vgg16() -> None:
    made = segmenter(DeepLabV2, backbone="vgg16", backbone_options=NARROW)
    # 13 convolutions and 4 x (fc6, fc7), weights and biases; fc8 of four branches
    assert rates(made) == [(21, 1, 0.5), (21, 2, 0), (4, 10, 0.5), (4, 20, 0)]


@pytest.mark.parametrize(
    ("rule", "moving", "learning"), [("published", True, False), ("frozen", False, False), ("trained", True, True)]
)
def test_batch_norm(rule: Any, moving: bool, learning: bool) -> None:
    made = segmenter(DeepLabV1, backbone="resnet38", backbone_options=NARROW, batch_norm=rule)
    model = made.build_model().train()
    norms = [m for m in model.backbone.modules() if isinstance(m, torch.nn.BatchNorm2d)]  # type: ignore[union-attr]
    assert {norm.training for norm in norms} == {moving}
    assert {norm.weight.requires_grad for norm in norms} == {learning}
    assert model.head.fov.norm.training


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"form": "v3plus"},
        {"form": "v2_aspp_bn"},
        {"training": "deeplab_pytorch"},
        {"training": "caffe", "form": "v1"},
        {"training": "rsepm"},
        {"ema": 0.9},
    ],
    ids=str,
)
def test_step_and_photo(options: dict[str, Any]) -> None:
    made = segmenter(**options)
    model = made.build_model().train()
    losses = made.training_step(model, batch(), Progress(0, 10, 0))
    scales = [f"ce_{scale:g}" for scale in made.scales]
    assert list(losses) == (["ce", *scales, "ce_max"] if scales else ["ce"])
    sum(losses.values()).backward()  # type: ignore[union-attr]
    ignored = made.training_step(model, batch(ignore=True), Progress(0, 10, 0))
    assert all(loss.item() == 0 for loss in ignored.values())
    image = np.random.default_rng(0).integers(0, 256, (21, 34, 3), np.uint8)
    logits = made.logits(model.eval(), image, InferSettings(scales=(1.0, 0.5), flip=True))
    assert logits.shape == (3, 21, 34) and np.isfinite(logits).all()
    network = made.network(model).eval()
    with torch.inference_mode():
        assert network(torch.randn(2, 3, 17, 26)).shape == (2, 3, 17, 26)


def test_one_view_of_a_photo_is_the_exported_network() -> None:
    made = segmenter(training="deeplab_pytorch")
    model = made.build_model().eval()
    image = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    pixels = torch.from_numpy(made.normalization.apply(image).transpose(2, 0, 1))[None]
    with torch.inference_mode():
        want = made.network(model)(pixels)[0].numpy()
    np.testing.assert_allclose(made.logits(model, image, InferSettings()), want, atol=1e-5)


@pytest.mark.parametrize("size", [(32, 48), (33, 47), (21, 34)])
@pytest.mark.parametrize("scale", [0.5, 0.75, 0.6])
def test_scaled_exactly_is_torchs_scale_factor(size: tuple[int, int], scale: float) -> None:
    images = torch.randn(2, 3, *size)
    want = F.interpolate(images, scale_factor=scale, mode="bilinear", recompute_scale_factor=False)
    torch.testing.assert_close(scaled_exactly(images, scale), want, atol=1e-5, rtol=0)


def test_the_average_is_what_predicts() -> None:
    made = segmenter(ema=0.5)
    model = made.build_model().eval()
    with torch.no_grad():
        for parameter in model.head.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    image = np.zeros((16, 16, 3), np.uint8)
    assert made.logits(model, image, InferSettings()).any()
    made.after_step(model, Progress(10**6, 10**6, 0))
    assert torch.equal(model.average.head.branches[0].bias, torch.zeros(3))  # type: ignore[union-attr]
    assert not [p for p in model.average.parameters() if p.requires_grad]  # type: ignore[union-attr]
    groups = param_groups(model.backbone, model.head, made.training, 1.0, OptimSettings(name="sgd", lr=1.0))  # type: ignore[arg-type]
    assert sum(len(g["params"]) for g in groups) == len([p for p in model.parameters() if p.requires_grad])


def written(folder: Path, count: int = 4) -> list[Sample]:
    from PIL import Image

    from wsseg_cli.data.stores import write_mask

    rng = np.random.default_rng(0)
    samples = []
    for number in range(count):
        image, mask = folder / f"{number}.png", folder / f"{number}_mask.png"
        Image.fromarray(rng.integers(0, 256, (20, 26, 3), np.uint8)).save(image)
        # one mask holds nothing to learn from
        write_mask(mask, np.full((20, 26), 255, np.uint8) if number == 0 else rng.integers(0, 3, (20, 26), np.uint8))
        samples.append(Sample(str(number), image, (), mask))
    return samples


def test_training_by_the_loop_with_an_ignored_mask(tmp_path: Path) -> None:
    made = segmenter(training="deeplab_pytorch", ema=0.999)
    settings = TrainSettings(
        weights="none",
        augment=AugmentSettings(
            scales=(0.5, 1.0, 1.5), interpolation="opencv_linear", placement="corner", crop=33, flip=0.5
        ),
        batch_size=2,
        accumulate=2,
        max_steps=3,
        optim=OptimSettings(name="sgd", lr=1e-3, momentum=0.9, weight_decay=5e-4),
    )
    stage = TrainingJob(tmp_path / "run", written(tmp_path), CLASSES, settings)
    loop = Loop(RuntimeSettings(workers=0, device="cpu"), quiet=True)
    model = loop(made, stage)
    assert all(value.isfinite().all() for value in model.state_dict().values())
    again = loop(made, stage)  # finished: read back, average included
    assert torch.equal(again.average.head.branches[0].weight, model.average.head.branches[0].weight)


def test_unknown_backbone() -> None:
    with pytest.raises(WssegError, match="did you mean 'small'"):
        segmenter(backbone="smal").build_model()


def test_vgg16_starts_with_fc6_and_fc7(tmp_path: Path) -> None:
    made = segmenter(DeepLabV2, backbone="vgg16", backbone_options=NARROW)
    start, model = made.build_model(), made.build_model()
    held = {name: value for name, value in start.state_dict().items() if "fc8" not in name}
    save_file(held, tmp_path / "start.safetensors", metadata=to_header({"saw": "ImageNet labels"}))
    fresh = model.head.branches[0].fc8.weight.clone()  # type: ignore[union-attr]
    assert load_initial(model, str(tmp_path / "start.safetensors")) == "ImageNet labels; head: 16 of 24 tensors"
    assert torch.equal(model.head.branches[3].fc6.weight, start.head.branches[3].fc6.weight)  # type: ignore[union-attr]
    assert torch.equal(model.head.branches[0].fc8.weight, fresh)  # type: ignore[union-attr]
