"""The table of backbones: a network by name, its feature maps, its pixels. Each is imported when asked for."""

from __future__ import annotations

import difflib
from collections.abc import Collection
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import RecipeError
from ..types import IMAGENET, Normalization

if TYPE_CHECKING:
    from .base import Backbone

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
    """Where a backbone is built (`module.build(name, **options)`), its feature_maps, its normalization by default."""

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
    `stride` (of `conv6`) and `normalization`. Options are those of the backbone's own `build`; every one takes
    `frozen`.

    Raises:
        RecipeError: no backbone of that name, or an option has a value that the backbone does not know.
    """
    return import_module(_entry(name).module).build(name, **options)


def normalization(name: str, **options: Any) -> Normalization:
    """Return how the backbone called `name`, built with `options`, wants its pixels; builds nothing.

    Raises:
        RecipeError: no backbone or no normalization of that name.
    """
    return named_normalization(options.get("normalization") or _entry(name).normalization)


def named_normalization(name: str | Normalization) -> Normalization:
    """Return the Normalization called `name`; one that is given is returned as it is.

    Raises:
        RecipeError: no such name.
    """
    if isinstance(name, Normalization):
        return name
    if name not in NORMALIZATIONS:
        raise RecipeError(f"unknown normalization {name!r}; expected one of {', '.join(NORMALIZATIONS)}")
    return NORMALIZATIONS[name]


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
        near = difflib.get_close_matches(name, BACKBONES, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"unknown backbone {name!r}; there are {', '.join(BACKBONES)}{hint}")
    return BACKBONES[name]
