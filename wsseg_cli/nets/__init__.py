"""The table of backbones: a network by name, its feature maps, its pixels. Each is imported when asked for."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from pydantic import ValidationError

from ..errors import RecipeError, near
from ..types import IMAGENET, Normalization

if TYPE_CHECKING:
    from .base import Backbone, BackboneOptions

CAFFE = Normalization(mean=(104.008, 116.669, 122.675), std=(1.0, 1.0, 1.0), scale=1.0, order="BGR")
"""Pixels 0..255 in BGR minus the mean colour, as networks that came from Caffe want them."""

TENSORFLOW = Normalization(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
"""Pixels in [-1, 1], as networks that came from TensorFlow were trained with."""

NORMALIZATIONS: dict[str, Normalization] = {"imagenet": IMAGENET, "caffe": CAFFE, "tensorflow": TENSORFLOW}
"""Normalizations by the name that the option `normalization` of a backbone takes."""


FEATURE_MAPS = ("conv3", "conv4", "conv5", "conv6")
"""Feature maps that every backbone of ours has. Names carry ResNet-38's meaning; `conv6` is always the last."""


@dataclass(frozen=True)
class BackboneEntry:
    """Where a backbone is built, its feature maps, its normalization by default.

    The module has `Options`, a `BackboneOptions`, and `build(name, options)`, which returns a `Backbone`.
    """

    module: str
    feature_maps: tuple[str, ...] = FEATURE_MAPS
    normalization: str = "imagenet"


BACKBONES: dict[str, BackboneEntry] = {
    "resnet38": BackboneEntry("wsseg_cli.nets.resnet38"),
    "vgg16": BackboneEntry("wsseg_cli.nets.vgg", normalization="caffe"),
    "resnet50": BackboneEntry("wsseg_cli.nets.resnet", ("conv2", *FEATURE_MAPS)),
    "resnet101": BackboneEntry("wsseg_cli.nets.resnet", ("conv2", *FEATURE_MAPS)),
    "efficientnet_lite0": BackboneEntry("wsseg_cli.nets.efficientnet_lite"),
    "efficientnet_lite1": BackboneEntry("wsseg_cli.nets.efficientnet_lite"),
    "efficientnet_lite2": BackboneEntry("wsseg_cli.nets.efficientnet_lite"),
    "small": BackboneEntry("wsseg_cli.nets.small", ("conv2", *FEATURE_MAPS)),
}
"""Every backbone by name."""


def backbone(name: str, **options: Any) -> Backbone:
    """Return the backbone called `name`, without weights.

    Its forward turns images (N, 3, H, W) into a dict of feature maps by name. It has `feature_maps` (name to channels),
    `stride` (of `conv6`) and `normalization`. Options are those of `options_of(name)`.

    Raises:
        RecipeError: no backbone of that name, or options that are not its own.
    """
    try:
        checked = validated(options_of(name), options)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = options_of(name).model_fields
            raise RecipeError(
                f"backbone {name!r}: unknown option {at!r}; there are {', '.join(known)}{near(at, known)}"
            ) from None
        what = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"backbone {name!r}: option {at} is {first['input']!r}: {what}") from None
    return cast("Backbone", import_module(_entry(name).module).build(name, checked))


def options_of(name: str) -> type[BackboneOptions]:
    """Return the model that options of the backbone called `name` are checked with; imports torch.

    Raises:
        RecipeError: no backbone of that name.
    """
    return cast("type[BackboneOptions]", import_module(_entry(name).module).Options)


def validated(model: type[BackboneOptions], options: Mapping[str, Any]) -> BackboneOptions:
    """Return options as the model holds them, by the rules of a recipe: lists may stand for tuples.

    Raises:
        ValidationError: one is unknown, or has a value that it cannot have.
    """
    return model.model_validate_json(json.dumps(options))


def normalization(name: str, **options: Any) -> Normalization:
    """Return how the backbone called `name`, built with `options`, wants its pixels; builds nothing.

    Raises:
        RecipeError: no backbone or no normalization of that name.
    """
    wanted = options.get("normalization") or _entry(name).normalization
    if wanted not in NORMALIZATIONS:
        raise RecipeError(f"unknown normalization {wanted!r}; expected one of {', '.join(NORMALIZATIONS)}")
    return NORMALIZATIONS[wanted]


def require_feature_maps(name: str, feature_maps: Collection[str]) -> None:
    """Check that the backbone called `name` has all `feature_maps`.

    Raises:
        RecipeError: it lacks some, with the backbones that have them all; or no backbone of that name.
    """
    lacking = sorted(set(feature_maps) - set(_entry(name).feature_maps))
    if lacking:
        able = [other for other, entry in BACKBONES.items() if set(feature_maps) <= set(entry.feature_maps)]
        raise RecipeError(
            f"backbone {name!r} has no feature map {', '.join(lacking)}, which the method needs; "
            f"choose one of {', '.join(able) or 'none of the built-in ones has them'}"
        )


def _entry(name: str) -> BackboneEntry:
    if name not in BACKBONES:
        raise RecipeError(f"unknown backbone {name!r}; there are {', '.join(BACKBONES)}{near(name, BACKBONES)}")
    return BACKBONES[name]
