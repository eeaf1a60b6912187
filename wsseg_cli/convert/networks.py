"""Which of our networks tensors belong to: backbones, variants of DeepLab, and those of the installed plugins."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, Literal, get_args, get_origin

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .. import nets
from ..errors import PluginError
from ..nets import deeplab
from ..nets.weights import Match, guess_backbone, match
from ..plugin.discovery import find, load_found
from ..plugin.protocols import NetworkOptions, Plugin
from ..types import ClassNames, Normalization

BACKBONE = "backbone."
FORM = "deeplab "
OWN = "a backbone of its own"

# The options of a backbone that change tensor names.
_VARIANTS: dict[str, dict[str, Any]] = {
    "resnet50": {"stem": "deep"},
    "resnet101": {"stem": "deep"},
    "vgg16": {"fc6_dilation": None},
}
_KNOWN_BY_SHAPES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")
_SOME_CLASSES = 2

Build = Callable[[int], nn.Module]


class _Unfilled(TorchFunctionMode):
    """Skips drawing the initial weights, which takes most of the time of building a network."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (Tensor.normal_, Tensor.uniform_):
            return args[0]
        return func(*args, **(kwargs or {}))


@dataclass(frozen=True)
class Network:
    """One of our networks, and how the tensors fit it.

    Attributes:
        name: what builds it: "backbone", "deeplab FORM", "method NAME" or "refiner NAME", with an option that is not
            at its default.
        backbone: its backbone.
        classes: foreground classes of the head; None without such a head.
        match: the comparison of the tensors, name by name.
        normalization: the normalisation of its input pixels.
    """

    name: str
    backbone: str
    classes: int | None
    match: Match
    normalization: Normalization | None

    @property
    def title(self) -> str:
        """Description of the network."""
        classes = f", {self.classes} classes" if self.classes is not None else ""
        return f"{self.name} on {self.backbone}{classes}" if self.name != "backbone" else f"backbone {self.backbone}"

    @property
    def problems(self) -> int:
        """Number of names that do not fit."""
        return len(self.match.missing) + len(self.match.extra) + len(self.match.wrong_shape)


def networks(tensors: Mapping[str, Tensor], family: str = "") -> list[Network]:
    """Return the networks that tensors under our names fill completely, or the one that they fit best, or none.

    family: family of the checkpoint; a plugin of this name comes first.

    Networks are built without memory, on PyTorch's meta device. For a plugin, all choices of its options are tried, one
    option at a time; the number of classes is taken from the tensors.
    """
    guess = guess_backbone(tensors)
    own = [] if guess else [n for n in _without_a_choice(tensors) if not (n.match.missing or n.match.extra)]
    if own:
        return own
    backbones = (
        [guess] if guess else [name for name in _KNOWN_BY_SHAPES if any(n.startswith(BACKBONE) for n in tensors)]
    )
    found = [network for name in backbones for network in _on(name, tensors)]
    found.sort(key=lambda n: (len(n.match.wrong_shape), n.problems, family not in n.name.split()))
    complete = [network for network in found if network.match.complete]
    return complete or found[:1]


def _on(backbone: str, tensors: Mapping[str, Tensor]) -> Iterator[Network]:
    for options in ({}, *([_VARIANTS[backbone]] if backbone in _VARIANTS else ())):
        yield _compared("backbone", backbone, tensors, partial(_backbone, backbone, options))
    if not heads(tensors):
        return
    done = ""
    # every variant of DeepLab has a module of this name, and tensors that fill one are not a method's
    forms = _forms(backbone) if any(name.startswith("head.") for name in tensors) else iter(())
    for name, words, build in chain(forms, _plugins(backbone)):
        if name == done or (done.startswith(FORM) and not name.startswith(FORM)):
            continue
        try:
            network = _compared(name + words, backbone, tensors, build)
        # A third-party plugin may fail in any way on a backbone that it does not know: then it does not match.
        except Exception:
            continue
        done = name if network.match.complete else done
        yield network


def _backbone(backbone: str, options: Mapping[str, Any], _: int) -> nn.Module:
    root = nn.Module()
    root.add_module("backbone", nets.backbone(backbone, **options))
    return root


def _forms(backbone: str) -> Iterator[tuple[str, str, Build]]:
    """Yield the variants of DeepLab on a backbone: name, non-default option, function from classes to the network."""
    for form, entry in deeplab.FORMS.items():
        if backbone not in entry.backbones:
            continue
        yield FORM + form, "", partial(_deeplab, form, backbone, {})
        if entry.backbones[backbone].get("stem") == "deep":
            yield FORM + form, " (stem: 7x7)", partial(_deeplab, form, backbone, {"stem": "7x7"})


def _deeplab(form: str, backbone: str, options: Mapping[str, Any], classes: int) -> nn.Module:
    return deeplab.build(form, classes + 1, backbone, **options)


def _plugins(backbone: str) -> Iterator[tuple[str, str, Build]]:
    """Yield the same for installed methods and refiners; those that do not load are skipped."""
    for plugin in [*find("methods"), *find("refiners")]:
        try:
            cls = load_found(plugin)
        except PluginError:
            continue
        for words, options in _choices(cls, backbone):
            yield f"{plugin.group[:-1]} {plugin.name}", words, partial(_built_by, cls, options)


def _without_a_choice(tensors: Mapping[str, Tensor]) -> Iterator[Network]:
    """Yield the networks of installed methods without a backbone option: they have their own backbone."""
    for plugin in find("methods"):
        try:
            cls = load_found(plugin)
            if not issubclass(cls.Options, NetworkOptions):
                yield _compared(f"method {plugin.name}", OWN, tensors, partial(_built_by, cls, {}))
        except Exception:  # a third-party plugin may fail in any way
            continue


def _choices(cls: type[Plugin], backbone: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the plugin's options on this backbone: the defaults, then with one option changed to another of its choices
    or to null.
    """
    fields = cls.Options.model_fields
    base = {"backbone": backbone} if "backbone" in fields else {}
    yield "", base
    for name, option in fields.items():
        kinds = get_args(option.annotation)
        words = kinds if get_origin(option.annotation) is Literal else [None] if type(None) in kinds else []
        for word in words:
            if word != option.default:
                yield f" ({name}: {'null' if word is None else word})", {**base, name: word}


def _built_by(cls: type[Plugin], options: Mapping[str, Any], classes: int) -> nn.Module:
    names = ClassNames([f"class {number}" for number in range(classes)])
    return cls(cls.Options(**options), names).build_model()  # type: ignore[call-arg, attr-defined]


def _compared(name: str, backbone: str, tensors: Mapping[str, Tensor], build: Build) -> Network:
    """Return the network with the number of classes in the tensors, if their names are the network's."""
    first = _with_classes(name, backbone, tensors, build, _SOME_CLASSES)
    wrong = first.match.wrong_shape
    if not wrong:
        return replace(first, classes=None)
    if first.match.missing or first.match.extra or any(n.startswith(BACKBONE) for n, _, _ in wrong):
        return first
    counts = sorted({found[0] - less for _, found, _ in wrong for less in (0, 1) if found and found[0] > less})
    tried = [_with_classes(name, backbone, tensors, build, count) for count in counts]
    return min([*tried, first], key=lambda network: network.problems)


def _with_classes(name: str, backbone: str, tensors: Mapping[str, Tensor], build: Build, classes: int) -> Network:
    with torch.device("meta"), _Unfilled():
        model = build(classes)
    normalization = getattr(model, "normalization", None) or getattr(
        getattr(model, "backbone", None), "normalization", None
    )
    return Network(name, backbone, classes, match(tensors, model), normalization)


def heads(names: Iterable[str]) -> list[str]:
    """Return the names of tensors outside the backbone."""
    return [name for name in names if not name.startswith(BACKBONE)]
