"""The interface of a network of timm: feature maps, strides, how it takes images of any size.

It is found by running the network on PyTorch's meta device, without weights or memory.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import RecipeError, near
from ..plugin.backbone_entry import FEATURE_MAPS

_ODD = (161, 225)
"""Height and width to test whether a network takes any size: not multiples of any usual stride."""

_ANY_SIZE = {"dynamic_img_size": True, "strict_img_size": False}
"""Arguments that make timm's transformers take images of any size, for classes that support them."""


@dataclass(frozen=True)
class Layout:
    """A network of timm as a backbone.

    Attributes:
        name: as timm calls it, such as "resnet18" or "resnet18.a1_in1k".
        arguments: arguments that timm builds it with.
        indices: which of its intermediate results are feature maps.
        channels: channels of each feature map.
        strides: image pixels per cell of each feature map.
        parameters: number of weights.
        multiple: sides of an image are padded to multiples of this many pixels, at the right and at the bottom.
        last: where conv6 comes from: "final", the input of the pooling of the network's own classifier; "normed", the
            tokens after the final normalisation, which all feature maps then go through; "raw", the last block.
        unused: names of modules that are not used, such as the classifier's own normalisation.
        prefix: tokens before the patches of a plain transformer; None for every other network.
    """

    name: str
    arguments: Mapping[str, Any]
    indices: tuple[int, ...]
    channels: Mapping[str, int]
    strides: Mapping[str, int]
    parameters: int
    multiple: int
    last: str
    unused: tuple[str, ...]
    prefix: int | None


Arguments = tuple[tuple[str, Any], ...]
"""Arguments of timm's function for a network, by name; a tuple, so that layouts can be cached."""


@cache
def layout_of(name: str, output_stride: int | None = None, more_arguments: Arguments = ()) -> Layout:
    """Return the layout of the network that timm calls `name`.

    Raises:
        RecipeError: timm has no such network or pretrained tag, or the network cannot have this output stride, takes
            images of one size only, or gives no feature maps.
    """
    require(name)
    arguments: dict[str, Any] = dict(more_arguments)
    if output_stride is not None:
        arguments["output_stride"] = output_stride
    with torch.device("meta"), torch.no_grad():
        model = _built(name, arguments)
        known = inspect.signature(type(model).__init__).parameters
        if more := {word: value for word, value in _ANY_SIZE.items() if word in known}:
            arguments |= more
            model = _built(name, arguments)
        model.eval()
        indices = _indices(name, model)
        last = "normed" if _takes(model, "return_prefix_tokens") else "final"
        multiple, last, called, maps = _probed(name, model, indices, last)
        names = FEATURE_MAPS[-len(maps) :]
        side = 32 * max(8, multiple)
        even = feature_maps(model, torch.zeros(1, 3, side, side), indices, last)
        strides = {word: side // m.shape[2] for word, m in zip(names, even, strict=True)}
        if maps[-1].shape[2] * strides["conv6"] < _ODD[0]:  # it would not see the last rows, nor take small images
            multiple = max(multiple, strides["conv6"])
        prefix = _prefix(model, multiple, strides["conv6"]) if last == "normed" else None
    if output_stride is not None and strides["conv6"] != output_stride:
        raise RecipeError(f"timm/{name} has output stride {strides['conv6']} and cannot have {output_stride}")
    unused = tuple(
        word
        for word, child in model.named_children()
        if any(True for _ in child.parameters()) and not called & {id(m) for m in child.modules()}
    )
    return Layout(
        name=name,
        arguments=arguments,
        indices=indices,
        channels={word: m.shape[1] for word, m in zip(names, maps, strict=True)},
        strides=strides,
        parameters=sum(p.numel() for p in model.parameters())
        - sum(p.numel() for word in unused for p in model.get_submodule(word).parameters()),
        multiple=multiple,
        last=last,
        unused=unused,
        prefix=prefix,
    )


def padded_side(side: int, multiple: int) -> int:
    """Return `side` rounded up to a multiple."""
    return (side + multiple - 1) // multiple * multiple


def padded(images: Tensor, multiple: int) -> Tensor:
    """Return images (N, 3, H, W) padded with zeros at the right and at the bottom, so that sides are multiples."""
    if multiple == 1:
        return images
    height, width = images.shape[-2:]
    return F.pad(images, (0, padded_side(width, multiple) - width, 0, padded_side(height, multiple) - height))


def feature_maps(model: nn.Module, images: Tensor, indices: tuple[int, ...], last: str) -> list[Tensor]:
    """Return the feature maps (N, D, h, w) of images whose sides the network accepts; see `Layout`."""
    intermediates: Any = model.forward_intermediates  # a method of timm's networks, not of nn.Module
    if last == "final":
        final, maps = intermediates(images, indices=list(indices))
        if getattr(model, "output_fmt", "NCHW") == "NHWC":
            final = final.permute(0, 3, 1, 2).contiguous()
        return [*maps[:-1], final]
    words = {"norm": True} if last == "normed" else {}
    return list(intermediates(images, indices=list(indices), intermediates_only=True, **words))


def tokens(model: nn.Module, images: Tensor, attention: bool) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Return (final, layers, attention) of a plain transformer; see `plugin.backbone.Tokens`."""
    blocks: Any = model.blocks
    forward: Any = model.forward_features
    parts = [block.attn for block in blocks] if attention else []
    fused = [part.fused_attn for part in parts]
    with _Watch() as layers, _Watch() as seen:
        layers.on(blocks)
        seen.on(part.attn_drop for part in parts)
        try:
            # step by step: a fused kernel would not expose the attention
            for part in parts:
                part.fused_attn = False
            final = forward(images)
        finally:
            for part, before in zip(parts, fused, strict=True):
                part.fused_attn = before
    return final, layers.outputs, seen.outputs


class _Watch:
    """Collects what modules return while the context is active."""

    def __enter__(self) -> _Watch:
        self.outputs: list[Any] = []
        self.hooks: list[Any] = []
        return self

    def on(self, modules: Iterable[nn.Module]) -> None:
        """Also watch these modules."""
        self.hooks += [m.register_forward_hook(lambda *call: self.outputs.append(call[2])) for m in modules]

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()


def require(name: str) -> None:
    """Check that timm knows the network and, if one is given, its pretrained tag."""
    import timm

    bare, _, tag = name.partition(".")
    if not timm.is_model(bare):
        known = timm.list_models()
        raise RecipeError(f"timm has no network {bare!r}{near(bare, known)} (`wsseg backbones 'timm/*'` lists all)")
    tags = [word.partition(".")[2] for word in timm.list_pretrained(f"{bare}.*")]
    if tag and tag not in tags:
        raise RecipeError(
            f"timm has no weights {tag!r} of {bare}; there are {', '.join(tags) or 'none'}{near(tag, tags)}"
        )


def create(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    """Return the network from timm, with random weights and without a classifier."""
    import timm

    model: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **arguments)
    return model


def _built(name: str, arguments: Mapping[str, Any]) -> nn.Module:
    try:
        return create(name, arguments)
    # each class in timm refuses an output stride in its own way
    except (AssertionError, NotImplementedError, RuntimeError, TypeError, ValueError) as error:
        stride = arguments.get("output_stride")
        why = (
            f"cannot have the output stride {stride}; leave output_stride out"
            if stride
            else f"cannot be built: {error}"
        )
        raise RecipeError(f"timm/{name} {why}") from error


def _indices(name: str, model: nn.Module) -> tuple[int, ...]:
    """Return which intermediate results are feature maps: the last four levels, or one per quarter of the depth."""
    if not hasattr(model, "forward_intermediates"):
        raise RecipeError(f"timm/{name} gives no feature maps: timm has no forward_intermediates for it")
    info: Any = model.feature_info
    levels = info if isinstance(info, list) else info.info
    count = len(levels)
    if count > len(FEATURE_MAPS) and len({level["reduction"] for level in levels}) == 1:
        return tuple(count * part // len(FEATURE_MAPS) - 1 for part in range(1, len(FEATURE_MAPS) + 1))
    return tuple(range(max(0, count - len(FEATURE_MAPS)), count))


def _probed(
    name: str, model: nn.Module, indices: tuple[int, ...], last: str
) -> tuple[int, str, set[int], list[Tensor]]:
    """Return the padding multiple, the source of conv6, the modules that were called, and the maps."""
    patch = getattr(getattr(model, "patch_embed", None), "patch_size", None) or (1, 1)
    problem: Exception | None = None
    for multiple in dict.fromkeys((1, max(patch) if isinstance(patch, tuple) else int(patch), 32)):
        images = padded(torch.zeros(1, 3, *_ODD), multiple)
        for way in dict.fromkeys((last, "raw")):
            try:
                with _noted(model) as called:
                    maps = feature_maps(model, images, indices, way)
            # timm's networks fail in many ways on sizes that they were not built for
            except Exception as error:
                problem = error
                continue
            if all(isinstance(m, Tensor) and m.ndim == 4 for m in maps) and (
                way != "final" or maps[-1].shape[2:] == _raw(model, images, indices)
            ):
                return multiple, way, called, maps
    raise RecipeError(f"timm/{name} only takes images of its own size, or gives no feature maps") from problem


@contextmanager
def _noted(model: nn.Module) -> Iterator[set[int]]:
    """Collect the ids of the modules that are called."""
    called: set[int] = set()
    hooks = [part.register_forward_pre_hook(lambda part, _: called.add(id(part))) for part in model.modules()]
    try:
        yield called
    finally:
        for hook in hooks:
            hook.remove()


def _raw(model: nn.Module, images: Tensor, indices: tuple[int, ...]) -> torch.Size:
    return feature_maps(model, images, indices[-1:], "raw")[-1].shape[2:]


def _prefix(model: nn.Module, multiple: int, stride: int) -> int | None:
    """Return the number of tokens before the patches if the network gives tokens and attention of every layer."""
    prefix = int(getattr(model, "num_prefix_tokens", 0))
    try:
        images = padded(torch.zeros(1, 3, *_ODD), multiple)
        rows, columns = (side // stride for side in images.shape[-2:])
        final, layers, attention = tokens(model, images, True)
    # some only look like plain transformers by their signature
    except Exception:
        return None
    count = final.shape[1]
    square = all(one.ndim == 4 and one.shape[-2:] == (count, count) for one in attention)
    whole = all(layer.shape[1] == count for layer in layers) and count == prefix + rows * columns
    return prefix if square and whole and len(attention) == len(layers) else None


def _takes(model: nn.Module, argument: str) -> bool:
    intermediates: Any = model.forward_intermediates
    return argument in inspect.signature(intermediates).parameters
