"""What `prepare` says about photos that are far larger than those a classifier is trained on."""

from __future__ import annotations

from collections.abc import Iterable

from ..recipe.sections import Recipe, TrainClsSettings

FAR = 3
"""How many times as long as the side in training a photo's longer side may be; beyond, the scale of maps differs."""


def size_warning(recipe: Recipe, sizes: Iterable[tuple[int, int]]) -> list[str]:
    """Return a line about photos far larger than the training's; [] if there are none or no size is set.

    sizes: (H, W) of each photo in pixels.
    """
    section = recipe.train_cls
    if not isinstance(section, TrainClsSettings) or recipe.cam is None:
        return []
    augment = section.augment
    side = augment.resize_long[1] if augment.resize_long else augment.crop
    large = [size for size in sizes if side is not None and max(size) > FAR * side]
    if not large:
        return []
    height, width = max(large, key=max)
    count = "1 photo is" if len(large) == 1 else f"{len(large)} photos are"
    said = f"{count} far larger than the {side} pixels that training sees, up to {width}x{height}"
    longest = recipe.cam.infer.longest
    if longest is None:
        return [
            f"{said}: score maps at another scale than the training's are worse, and take gigabytes; shrink photos for "
            f"inference with `cam.infer.longest: {side}`, and `pseudo.crf.longest` and `eval.infer.longest` likewise"
        ]
    return [f"{said}: score maps are made at {longest} pixels (`cam.infer.longest`), masks are as large as the photos"]
