"""Networks of timm as backbones: names, maps, strides, sizes, pixels, what can be frozen, tokens and attention."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
from lite_names import lite0_as_timm
from torch import nn

from wsseg_cli import nets
from wsseg_cli.engine import checkpoint
from wsseg_cli.errors import CheckpointError, RecipeError
from wsseg_cli.foreign import pth
from wsseg_cli.nets.efficientnet_lite import package_weights
from wsseg_cli.nets.inference import for_inference
from wsseg_cli.plugin.backbone import Backbone, TokenBackbone
from wsseg_cli.plugin.backbones import backbone_entry

VIT = "timm/vit_tiny_patch16_224"
SHAPES = [
    ("resnet18", (97, 130), {"conv3": (25, 33), "conv4": (13, 17), "conv5": (7, 9), "conv6": (4, 5)}),
    ("convnext_atto", (97, 131), {"conv3": (32, 40), "conv4": (16, 20), "conv5": (8, 10), "conv6": (4, 5)}),
    ("convnext_atto", (20, 9), {"conv3": (8, 8), "conv6": (1, 1)}),
    ("resnet18", (20, 9), {"conv3": (5, 3), "conv6": (1, 1)}),
    ("swin_tiny_patch4_window7_224", (97, 131), {"conv3": (25, 33), "conv6": (4, 5)}),
    ("vit_tiny_patch16_224", (97, 131), {"conv3": (7, 9), "conv6": (7, 9)}),
    ("efficientvit_m0", (97, 131), {"conv4": (7, 9), "conv6": (2, 3)}),
]


@pytest.fixture(scope="module")
def vit() -> TokenBackbone:
    torch.manual_seed(0)
    built = nets.backbone(VIT).eval()
    assert isinstance(built, TokenBackbone)
    return built


@pytest.mark.parametrize(("name", "size", "expected"), SHAPES, ids=[f"{row[0]}-{row[1]}" for row in SHAPES])
def test_maps_of_any_size(name: str, size: tuple[int, int], expected: dict[str, tuple[int, int]]) -> None:
    entry = backbone_entry(f"timm/{name}")
    with torch.device("meta"):
        net = nets.backbone(f"timm/{name}").eval()
        maps = net(torch.zeros(2, 3, *size))
    assert {word: tuple(maps[word].shape[2:]) for word in expected} == expected
    assert {word: one.shape[1] for word, one in maps.items()} == net.feature_maps
    assert list(entry.feature_maps) == list(net.feature_maps)
    assert net.stride == entry.feature_maps["conv6"]
    assert sum(p.numel() for p in net.parameters()) == entry.parameters
    assert isinstance(net, TokenBackbone) == name.startswith("vit")


def test_tensors_have_timms_names() -> None:
    net = nets.backbone("timm/resnet18")
    whole = timm.create_model("resnet18", pretrained=False).state_dict()
    assert set(net.state_dict()) == {name for name in whole if not name.startswith("fc.")}
    root = nn.Module()
    root.backbone = net
    assert set(root.state_dict()) == {f"backbone.{name}" for name in net.state_dict()}
    other = nn.Module()
    other.backbone = nets.backbone("timm/resnet18")
    other.load_state_dict(root.state_dict(), strict=True)
    assert torch.equal(other.state_dict()["backbone.conv1.weight"], net.state_dict()["conv1.weight"])
    assert net.state_dict(keep_vars=True)["conv1.weight"] is dict(net.named_parameters())["model.conv1.weight"]


def test_a_network_can_be_copied_and_sent_to_a_worker() -> None:
    torch.manual_seed(0)
    net = nets.backbone("timm/resnet18", frozen="conv3").eval()
    images = torch.rand(1, 3, 33, 41)
    with torch.inference_mode():
        for other in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
            assert torch.equal(other(images)["conv6"], net(images)["conv6"])


def test_output_stride() -> None:
    with torch.device("meta"):
        net = nets.backbone("timm/resnet18", output_stride=16)
        assert net(torch.zeros(1, 3, 96, 128))["conv6"].shape[2:] == (6, 8)
    assert net.stride == 16 and backbone_entry("timm/resnet18", {"output_stride": 8}).feature_maps["conv6"] == 8
    for name in ("vit_tiny_patch16_224", "swin_tiny_patch4_window7_224", "vgg11"):
        with pytest.raises(RecipeError, match=rf"timm/{name} cannot have the output stride 8; leave output_stride out"):
            nets.backbone(f"timm/{name}", output_stride=8)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm/resnet19", r"timm has no network 'resnet19'; did you mean 'resnet1\d.*'\?"),
        ("timm/resnet18.a1_in2k", r"timm has no weights 'a1_in2k' of resnet18; there are .*did you mean 'a1_in1k'"),
        ("timm/hiera_tiny_224", r"timm/hiera_tiny_224 only takes images of its own size"),
        ("timm/levit_128s", r"timm/levit_128s only takes images of its own size, or gives no feature maps"),
    ],
)
def test_what_is_refused(name: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        nets.backbone(name)
    with pytest.raises(RecipeError, match=r"has no feature map conv3, which the method needs; choose one of"):
        nets.require_feature_maps("timm/efficientvit_m0", {"conv3"})


def test_pixels_are_those_of_timms_configuration() -> None:
    assert nets.normalization("timm/resnet18") == nets.NORMALIZATIONS["imagenet"]
    assert nets.normalization("timm/tf_efficientnet_lite0").mean == (0.5, 0.5, 0.5)
    assert nets.normalization("timm/vit_base_patch16_224.augreg_in21k").mean == (0.5, 0.5, 0.5)
    assert nets.normalization("timm/vit_base_patch16_clip_224.openai").mean[0] == pytest.approx(0.48145466)
    assert nets.normalization("timm/resnet18", normalization="caffe").order == "BGR"
    assert nets.backbone("timm/tf_efficientnet_lite0").normalization.std == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(
    ("name", "first", "after"),
    [
        ("resnet18", "conv1.weight", "layer4.0.conv1.weight"),
        ("tf_efficientnet_lite0", "conv_stem.weight", "blocks.5.0.conv_pw.weight"),
        ("vit_tiny_patch16_224", "pos_embed", "blocks.9.norm1.weight"),
        ("swin_tiny_patch4_window7_224", "patch_embed.proj.weight", "layers.3.downsample.norm.weight"),
    ],
)
def test_frozen_up_to_a_map(name: str, first: str, after: str) -> None:
    net = nets.backbone(f"timm/{name}", frozen="conv5").train()
    learns = {word: p.requires_grad for word, p in net.state_dict(keep_vars=True).items()}
    assert not learns[first] and learns[after]
    maps = net(torch.rand(2, 3, 64, 64))
    assert maps["conv6"].requires_grad
    assert maps["conv5"].requires_grad == name.startswith("vit")  # by the last normalisation, which is over all maps
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert not any(norm.training for norm in norms)


@pytest.mark.parametrize("output_stride", [32, 16, 8])
def test_lite0_is_ours(output_stride: int) -> None:
    torch.manual_seed(0)
    ours = nets.backbone("efficientnet_lite0", output_stride=output_stride).eval()
    theirs = nets.backbone("timm/tf_efficientnet_lite0", output_stride=output_stride).eval()
    try:
        tensors = pth.read(package_weights("efficientnet_lite0"))
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("_fc.")}
    except CheckpointError:
        tensors = ours.state_dict()
    checkpoint.load_strictly(ours, tensors, "ours")
    checkpoint.load_strictly(theirs, lite0_as_timm(tensors), "timm's")
    images = torch.randn(1, 3, 97, 130)
    with torch.inference_mode():
        want, got = ours(images), theirs(images)
    for word in got:
        torch.testing.assert_close(got[word], want[word], rtol=1e-4, atol=1e-4)


def test_weights_of_another_network_are_refused() -> None:
    with pytest.raises(CheckpointError, match=r"(?s)weights of resnet34 does not fit.*unexpected  layer1\.2"):
        other = nets.backbone("timm/resnet34").state_dict()
        checkpoint.load_strictly(nets.backbone("timm/resnet18"), other, "weights of resnet34")


@pytest.mark.parametrize("name", ["resnet18", "tf_efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224"])
def test_for_inference_keeps_the_numbers(name: str) -> None:
    torch.manual_seed(0)
    net: Backbone = nets.backbone(f"timm/{name}")
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    net.eval()
    images = torch.randn(1, 3, 97, 130)
    with torch.inference_mode():
        want = net(images)
        got = for_inference(copy.deepcopy(net))(images)
    for word in got:
        torch.testing.assert_close(got[word], want[word], rtol=1e-3, atol=1e-3)


def test_tokens_and_attention(vit: TokenBackbone) -> None:
    images = torch.randn(2, 3, 40, 70)
    with torch.inference_mode():
        seen, maps = vit.tokens(images, attention=True), vit(images)
        blind = vit.tokens(images)
    assert seen.grid == (3, 5) and seen.prefix == 1
    assert [layer.shape for layer in seen.layers] == [(2, 16, 192)] * 12
    assert [one.shape for one in seen.attention] == [(2, 3, 16, 16)] * 12 and blind.attention == ()
    for one in seen.attention:
        torch.testing.assert_close(one.sum(-1), torch.ones(2, 3, 16))
    torch.testing.assert_close(seen.final, blind.final, rtol=1e-4, atol=1e-5)
    patches = seen.final[:, seen.prefix :].transpose(1, 2).reshape(2, 192, 3, 5)
    torch.testing.assert_close(maps["conv6"], patches, rtol=1e-4, atol=1e-5)
    with torch.inference_mode():
        normed = vit.model.norm(seen.layers[-1])  # type: ignore[union-attr, operator]
    torch.testing.assert_close(normed, seen.final, rtol=1e-4, atol=1e-5)


def test_attention_is_that_of_the_block(vit: TokenBackbone) -> None:
    """The last block, computed by hand from the tokens before it, with the attention that was handed out."""
    block = vit.model.blocks[-1]  # type: ignore[union-attr, index]
    with torch.inference_mode():
        seen = vit.tokens(torch.randn(1, 3, 48, 32), attention=True)
        before = seen.layers[-2]
        value = block.attn.qkv(block.norm1(before)).reshape(1, 7, 3, 3, 64).permute(2, 0, 3, 1, 4)[2]
        mixed = (seen.attention[-1] @ value).transpose(1, 2).reshape(1, 7, 192)
        after = before + block.attn.proj(mixed)
        after = after + block.mlp(block.norm2(after))
    torch.testing.assert_close(after, seen.layers[-1], rtol=1e-4, atol=1e-5)


def test_a_token_backbone_has_to_give_tokens() -> None:
    class Silent(TokenBackbone):
        pass

    with pytest.raises(TypeError, match=r"abstract method '?tokens'?"):
        Silent()  # type: ignore[abstract]


def test_gradients_pass_through_tokens(vit: TokenBackbone) -> None:
    seen = vit.tokens(torch.randn(1, 3, 32, 32), attention=True)
    (gradient,) = torch.autograd.grad(
        seen.final.sum() + seen.attention[0].square().sum(), seen.layers[3], retain_graph=True
    )
    assert gradient.shape == seen.layers[3].shape
    assert all(block.attn.fused_attn for block in vit.model.blocks)  # type: ignore[union-attr]
