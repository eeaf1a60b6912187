"""Backbones by the name that a recipe gives: the entry, with its options checked. Torch only if the entry needs it."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..errors import PluginError, RecipeError, near
from ..types import Normalization
from . import discovery
from .backbone_entry import BackboneEntry, Freezing
from .inspection import class_values

if TYPE_CHECKING:
    from .backbone import Backbone


def backbone_entry(name: str, options: Mapping[str, Any] | None = None) -> BackboneEntry[Any]:
    """Return the entry of the backbone called `name`, "resnet50" or "timm/resnet50", with `options` checked.

    Raises:
        RecipeError: no backbone of that name, or an option or its value is unknown.
        PluginError: its package does not load.
    """
    try:
        return checked_entry(name, options or {})
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        at = ".".join(map(str, first["loc"]))
        if first["type"] == "extra_forbidden":
            known = entry_class(name)[0].Options.model_fields
            raise RecipeError(
                f"backbone {name!r}: unknown option {at!r}; there are {', '.join(known)}{near(at, known)}"
            ) from None
        what = first["msg"].removeprefix("Value error, ")
        raise RecipeError(f"backbone {name!r}: option {at} is {first['input']!r}: {what}") from None


def checked_entry(name: str, options: Mapping[str, Any]) -> BackboneEntry[Any]:
    """Return the same, for callers that report themselves what is wrong with an option.

    Raises:
        ValidationError: an option is unknown, or its value is not valid.
    """
    cls, model = entry_class(name)
    # by the rules of a recipe: lists may stand for tuples
    return cls(cls.Options.model_validate_json(json.dumps(options)), model)


def backbone(name: str, **options: Any) -> Backbone:
    """Return the backbone called `name`, without weights.

    Its forward turns images (N, 3, H, W) into a dict of feature maps by name: conv3 to conv6 as far as the network has
    them. Names have ResNet-38's meaning; `conv6` is always the last. It has `feature_maps` (name to channels),
    `stride` (of `conv6`) and `normalization`. Options are those of the backbone's entry; every one takes
    `normalization` and `frozen`.

    Raises:
        RecipeError: no backbone of that name, or an option has a value that the backbone does not know.
    """
    from .backbone import Backbone

    entry = backbone_entry(name, options)
    built = entry.build()
    if not isinstance(built, Backbone):
        raise PluginError(f"backbone {name!r}: build() gives a {type(built).__name__}, expected a Backbone")
    built.normalization = entry.normalization
    freezing_presets = {"none": Freezing(), **entry.options.freezing_presets, **built.freezings}
    built.freeze(freezing_presets[entry.options.frozen_preset])
    return built


def require_feature_maps(name: str, feature_maps: Collection[str], **options: Any) -> None:
    """Check that the backbone called `name` has all `feature_maps`.

    Raises:
        RecipeError: it lacks some (the message names the backbones that have them all), or there is no backbone of that
            name.
    """
    lacking = sorted(set(feature_maps) - set(backbone_entry(name, options).feature_maps))
    if lacking:
        maps = {found.name: class_values(found.target).get("feature_maps", {}) for found in discovery.find("backbones")}
        able = [other for other, has in maps.items() if set(feature_maps) <= set(has)]
        raise RecipeError(
            f"backbone {name!r} has no feature map {', '.join(lacking)}, which the method needs; "
            f"choose one of {', '.join(able) or 'none of the installed ones has them'}"
        )


def normalization(name: str, **options: Any) -> Normalization:
    """Return how the backbone called `name`, built with `options`, expects its pixels; builds nothing.

    Raises:
        RecipeError: no backbone of that name, or an option or its value is unknown.
    """
    return backbone_entry(name, options).normalization


@cache  # every image asks for its normalization, and each query of the installed packages reads their metadata
def entry_class(name: str) -> tuple[type[BackboneEntry[Any]], str]:
    """Return the entry's class, and the part after the slash of "timm/resnet50".

    Raises:
        RecipeError: no backbone of that name. PluginError: its package does not load.
    """
    head, _, model = name.partition("/")
    names = sorted({found.name for found in discovery.find("backbones")})
    if head not in names:
        raise RecipeError(f"unknown backbone {name!r}; there are {', '.join(names)}{near(name, names)}")
    cls = discovery.load("backbones", head)
    assert issubclass(cls, BackboneEntry)
    if bool(model) != cls.family:
        hint = f"write {head}/MODEL, such as {head}/resnet18" if cls.family else f"write {head}"
        raise RecipeError(f"unknown backbone {name!r}; {hint} (`wsseg backbones` lists all)")
    return cls, model
