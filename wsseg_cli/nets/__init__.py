"""Networks. A backbone is found by its name, among ours and those that other packages bring, and built here."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from ..errors import PluginError, RecipeError
from ..plugin.backbone_entry import Freezing
from ..plugin.backbones import backbone_entry, normalization
from ..plugin.discovery import find
from ..plugin.inspection import class_values
from ..types import CAFFE, NORMALIZATIONS, TENSORFLOW

if TYPE_CHECKING:
    from ..plugin.backbone import Backbone

__all__ = ["CAFFE", "NORMALIZATIONS", "TENSORFLOW", "backbone", "normalization", "require_feature_maps"]


def backbone(name: str, **options: Any) -> Backbone:
    """Return the backbone called `name`, without weights.

    Its forward turns images (N, 3, H, W) into a dict of feature maps by name: conv3 to conv6 as far as the network has
    them. Names carry ResNet-38's meaning; `conv6` is always the last. It has `feature_maps` (name to channels),
    `stride` (of `conv6`) and `normalization`. Options are those of the backbone's entry; every one takes
    `normalization` and `frozen`.

    Raises:
        RecipeError: no backbone of that name, or an option has a value that the backbone does not know.
    """
    from ..plugin.backbone import Backbone

    entry = backbone_entry(name, options)
    built = entry.build()
    if not isinstance(built, Backbone):
        raise PluginError(f"backbone {name!r}: build() gives a {type(built).__name__}, expected a Backbone")
    built.normalization = entry.normalization
    forms = {"none": Freezing(), **entry.options.forms, **built.freezings}
    built.freeze(forms[entry.options.frozen_form])
    return built


def require_feature_maps(name: str, feature_maps: Collection[str], **options: Any) -> None:
    """Check that the backbone called `name` has all `feature_maps`.

    Raises:
        RecipeError: it lacks some, with the backbones that have them all; or no backbone of that name.
    """
    lacking = sorted(set(feature_maps) - set(backbone_entry(name, options).feature_maps))
    if lacking:
        maps = {found.name: class_values(found.target).get("feature_maps", {}) for found in find("backbones")}
        able = [other for other, has in maps.items() if set(feature_maps) <= set(has)]
        raise RecipeError(
            f"backbone {name!r} has no feature map {', '.join(lacking)}, which the method needs; "
            f"choose one of {', '.join(able) or 'none of the installed ones has them'}"
        )
