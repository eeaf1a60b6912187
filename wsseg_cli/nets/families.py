"""Tensor names in released checkpoints of the ResNet and DeepLab systems, mapped to ours."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import TypeVar

T = TypeVar("T")
Prefixes = Mapping[str, str | None]
"""Name prefixes and our names for them; None drops copies and what is not a weight. The longest match counts."""


def _unit(conv: str, norm: str, ours: str) -> dict[str, str | None]:
    return {conv: f"{ours}.conv", norm: f"{ours}.norm"}


def _units(numbers: Iterable[int], conv: str, norm: str, ours: str, shift: int = 0) -> dict[str, str | None]:
    """Return `_unit` for each number; "#" in the names stands for it, shifted in ours."""
    joined: dict[str, str | None] = {}
    for n in numbers:
        joined |= _unit(conv.replace("#", str(n)), norm.replace("#", str(n)), ours.replace("#", str(n + shift)))
    return joined


_WSEG: Prefixes = {
    **_units(range(1, 5), "aspp.branch#.0", "aspp.branch#.1", "head.aspp.branches.#", -1),
    **_unit("aspp.branch5_conv", "aspp.branch5_bn", "head.aspp.pooled"),
    **_unit("aspp.conv_cat.0", "aspp.conv_cat.1", "head.aspp.project"),
    **_unit("shortcut_conv.0", "shortcut_conv.1", "head.shortcut"),
    **_unit("cat_conv.0", "cat_conv.1", "head.decoder.0"),
    **_unit("cat_conv.3", "cat_conv.4", "head.decoder.2"),
    **_unit("conv_fov", "bn_fov", "head.fov"),
    **_unit("conv_fov2", "bn_fov2", "head.mix"),
    "cls_conv": "head.classifier",
}

_EDGE: Prefixes = {
    **_units(range(1, 6), "fc_edge#.0", "fc_edge#.1", "edge.heads.#", -1),
    "fc_edge6": "edge.classifier",
}

_EDGE_TWICE: Prefixes = {
    **_EDGE,
    **_units(range(5), "edge_layers.#.0", "edge_layers.#.1", "edge.heads.#"),
    "edge_layers.5": "edge.classifier",
}

_IRN: Prefixes = {
    **dict.fromkeys(["backbone", "newly_added", "edge_layers", "dp_layers", "disp_target", "fc_dp7.4"]),
    **dict.fromkeys(f"stage{n}" for n in range(1, 6)),
    "resnet50.fc": None,
    "resnet50": "backbone",
    "classifier": "fc8",
    **_EDGE,
    **_units(range(1, 6), "fc_dp#.0", "fc_dp#.1", "displacement.heads.#", -1),
    **_unit("fc_dp6.0", "fc_dp6.1", "displacement.deep"),
    **_unit("fc_dp7.0", "fc_dp7.1", "displacement.mix"),
    "fc_dp7.3": "displacement.field",
    "mean_shift.running_mean": "displacement.mean",
}

_JO_BACKBONE: Prefixes = {
    "model": "backbone",
    "model.fc": None,
    "stage1.0": "backbone.conv1",
    "stage1.1": "backbone.bn1",
    **{f"stage{n}.0": f"backbone.layer{n - 1}" for n in range(2, 6)},
}

# PuzzleCAM, and the first version of RecurSeed's code.
_PUZZLECAM: Prefixes = {
    **_JO_BACKBONE,
    **_EDGE_TWICE,
    **_units(range(1, 5), "aspp.aspp#.atrous_conv", "aspp.aspp#.bn", "head.aspp.branches.#", -1),
    **_unit("aspp.global_avg_pool.1", "aspp.global_avg_pool.2", "head.aspp.pooled"),
    **_unit("aspp.conv1", "aspp.bn1", "head.aspp.project"),
    **_unit("decoder.conv1", "decoder.bn1", "head.shortcut"),
    **_unit("decoder.classifier.0", "decoder.classifier.1", "head.decoder.0"),
    **_unit("decoder.classifier.4", "decoder.classifier.5", "head.decoder.2"),
    "decoder.classifier.8": "head.classifier",
}

_RSEPM: Prefixes = {
    **_JO_BACKBONE,
    **_EDGE_TWICE,
    **{f"aspp.aspp{n}": f"head.branches.{n - 1}" for n in range(1, 5)},
    **_units(range(1, 5), "aspp.aspp#.conv", "aspp.aspp#.bn", "head.aspp.branches.#", -1),
    **_unit("aspp.global_avg_pool.1.conv", "aspp.global_avg_pool.1.bn", "head.aspp.pooled"),
    **_unit("aspp.block.0.conv", "aspp.block.0.bn", "head.aspp.project"),
    **_unit("decoder.low_block.conv", "decoder.low_block.bn", "head.shortcut"),
    **_units((0, 2), "decoder.classifier.#.conv", "decoder.classifier.#.bn", "head.decoder.#"),
    "decoder.classifier.4": "head.classifier",
}


def _caffe_layout(prefix: str) -> dict[str, str | None]:
    """Return the names of deeplab-pytorch's ResNet-101 and heads."""
    names: dict[str, str | None] = {
        "layer1.conv1.conv": "backbone.conv1",
        "layer1.conv1.bn": "backbone.bn1",
        **{f"aspp.c{n}": f"head.branches.{n}" for n in range(4)},
        "fc": "head.classifier",
    }
    for stage, blocks in enumerate((3, 4, 23, 3), start=2):
        for block in range(1, blocks + 1):
            theirs, ours = f"layer{stage}.block{block}", f"backbone.layer{stage - 1}.{block - 1}"
            for number, part in enumerate(("reduce", "conv3x3", "increase"), start=1):
                names |= {f"{theirs}.{part}.conv": f"{ours}.conv{number}", f"{theirs}.{part}.bn": f"{ours}.bn{number}"}
            names |= {
                f"{theirs}.shortcut.conv": f"{ours}.downsample.0",
                f"{theirs}.shortcut.bn": f"{ours}.downsample.1",
            }
    return {prefix + theirs: ours for theirs, ours in names.items()}


_DEEPLAB_PYTORCH: Prefixes = {**_caffe_layout(""), **_caffe_layout("base.")}


def renamed(tensors: Mapping[str, T], prefixes: Prefixes) -> dict[str, T]:
    """Return tensors under our names; names without a matching prefix are kept. If two collide, the later counts."""
    result: dict[str, T] = {}
    for name, tensor in tensors.items():
        parts = name.split(".")
        for length in range(len(parts), 0, -1):
            prefix = ".".join(parts[:length])
            if prefix in prefixes:
                ours = prefixes[prefix]
                if ours is not None:
                    result[".".join([ours, *parts[length:]])] = tensor
                break
        else:
            result[name] = tensor
    return result


def wseg(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return a checkpoint of the DeepLab code that SEAM and PPC train with (v1, "v2" with batch norm, v3+)."""
    return renamed(tensors, _WSEG)


def irn(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return a checkpoint of IRN's classifier or of its edge and displacement network, without its aliases."""
    buffers = {name: tensor for name, tensor in tensors.items() if not name.startswith("path_indices")}
    return renamed(buffers, _IRN)


def puzzlecam(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return a checkpoint of PuzzleCAM's classifier, AffinityNet or DeepLab v3+.

    Of the duplicated backbone, the `stage` names are used.
    """
    copies = ("path_indices", "model.") if any(name.startswith("stage") for name in tensors) else ("path_indices",)
    return renamed({n: t for n, t in tensors.items() if not n.startswith(copies)}, _PUZZLECAM)


def rsepm(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return a checkpoint of RecurSeed + EdgePredictMix: single stage (both versions), DeepLab v2, v3+, affinity."""
    first_version = any(name.startswith("aspp.aspp1.atrous_conv.") for name in tensors)
    return renamed(tensors, _PUZZLECAM if first_version else _RSEPM)


def deeplab_pytorch(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return a checkpoint of deeplab-pytorch, with or without the prefix of its multi-scale wrapper."""
    return renamed(tensors, _DEEPLAB_PYTORCH)


_CAFFE_LAYER = re.compile(r"(res|bn)([2-5])([a-c]|b[0-9]+)_branch(1|2[a-c])$")
_CAFFE_PARTS = {"1": "shortcut", "2a": "reduce", "2b": "conv3x3", "2c": "increase"}
_VGG16_LAYER = re.compile(r"(conv[1-5]_[1-3]|fc[67])$")
_COPIES = ("res075", "res05")


def caffe_layer(layer: str) -> str | None:
    """Return deeplab-pytorch's name for a layer of the DeepLab authors' ResNet-101; None: unknown, or a shared copy."""
    if any(copy in layer for copy in _COPIES):
        return None
    if layer in ("conv1", "bn_conv1", "pool1"):
        return {"conv1": "layer1.conv1.conv", "bn_conv1": "layer1.conv1.bn", "pool1": "layer1.pool"}[layer]
    if found := _CAFFE_LAYER.match(layer):
        kind, stage, block, branch = found.groups()
        number = int(block[1:]) + 1 if len(block) > 1 else ord(block) - ord("a") + 1
        return f"layer{stage}.block{number}.{_CAFFE_PARTS[branch]}.{'conv' if kind == 'res' else 'bn'}"
    if found := re.match(r"fc1_[a-z0-9]+(_c[0-3])?$", layer):
        return f"aspp.{found[1][1:]}" if found[1] else "fc"
    return None


def caffe(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return the tensors of a caffemodel (by layer) of the DeepLab authors' ResNet-101; shared copies are left out.

    Those of VGG-16 have the layer names of our backbone and go into it.
    """
    named: dict[str, T] = {}
    for name, tensor in tensors.items():
        layer, _, parameter = name.rpartition(".")
        if any(copy in layer for copy in _COPIES):
            continue
        known = caffe_layer(layer)
        vgg16 = _VGG16_LAYER.match(layer)
        named[f"{known}.{parameter}" if known else f"backbone.{name}" if vgg16 else name] = tensor
    return deeplab_pytorch(named)


def deeplab_vgg16(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return a caffemodel (by layer) of DeepLab on VGG-16: LargeFOV, or ASPP if its layers are numbered."""
    return _vgg16_heads(tensors, 1)


def deeplab_vgg16_aspp(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return a caffemodel (by layer) for ASPP on VGG-16: all four branches start from one fc6 and fc7."""
    return _vgg16_heads(tensors, 4)


def _vgg16_heads(tensors: Mapping[str, T], branches: int) -> dict[str, T]:
    named: dict[str, T] = {}
    for name, tensor in tensors.items():
        layer, _, parameter = name.rpartition(".")
        found = re.match(r"(fc[678])(?:_[a-z][a-z0-9]*)?(?:_([1-9]))?$", layer)
        if not found:
            named[f"backbone.{name}"] = tensor
        elif found[2]:
            named[f"head.branches.{int(found[2]) - 1}.{found[1]}.{parameter}"] = tensor
        elif branches == 1:
            named[f"head.branch.{found[1]}.{parameter}"] = tensor
        else:
            named |= {f"head.branches.{branch}.{found[1]}.{parameter}": tensor for branch in range(branches)}
    return named
