"""From views of images to normalised maps of both classifiers, and to merged logits of the segmentation head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-5

Maps = Callable[[Tensor], "tuple[Tensor, Tensor]"]
"""Normalised images (V, 3, h, w) -> raw maps of the final and of the auxiliary classifier, (V, C, h', w') each."""


@torch.no_grad()
def class_maps(forward: Maps, images: Tensor, scales: Sequence[float], flip: bool = True) -> tuple[Tensor, Tensor]:
    """Return the maps of both classifiers fused over scales, (N, C, H, W) each in [0, 1], of all classes.

    Per scale the maximum of an image and its flip at the image's size, not negative; then their sum, minus its minimum,
    over its maximum + 1e-5. Scale 1 is always among them and comes first, as published. images: (N, 3, H, W),
    normalised.
    """
    size = (int(images.shape[2]), int(images.shape[3]))
    sums: list[Tensor] = []
    for view in scaled_views(images, [1.0, *(scale for scale in scales if scale != 1)], flip):
        parts = [F.interpolate(raw.float(), size, mode="bilinear", align_corners=False) for raw in forward(view)]
        if flip:
            parts = [torch.maximum(part[: len(images)], part[len(images) :].flip(-1)) for part in parts]
        sums = [part.relu() for part in parts] if not sums else [s + p.relu() for s, p in zip(sums, parts, strict=True)]
    final, middle = map(_between_0_and_1, sums)
    return final, middle


def scaled_views(images: Tensor, scales: Sequence[float], flip: bool) -> Iterator[Tensor]:
    """Yield the images at each scale, (N, 3, h, w), or followed by their flips (2 * N, 3, h, w)."""
    for scale in scales:
        size = [max(int(scale * side), 1) for side in images.shape[-2:]]
        view = images if scale == 1 else F.interpolate(images, size, mode="bilinear", align_corners=False)
        yield torch.cat([view, view.flip(-1)]) if flip else view


def _between_0_and_1(maps: Tensor) -> Tensor:
    above = maps - maps.amin((2, 3), keepdim=True)
    return above / (above.amax((2, 3), keepdim=True) + EPSILON)


@torch.no_grad()
def merged_logits(
    forward: Callable[[Tensor], Tensor],
    image: Tensor,
    size: tuple[int, int],
    scales: Sequence[float],
    *,
    flip: bool,
    flip_merge: Literal["sum", "max"],
    scale_merge: Literal["sum", "max"],
) -> Tensor:
    """Return the logits (1+C, H, W) of one image at `size`, merged over a view and its flip, then over the scales.

    forward: normalised images (V, 3, h, w) -> logits (V, 1+C, h', w'); image: (1, 3, h, w), normalised.
    """
    merged: Tensor | None = None
    for view in scaled_views(image, scales, flip):
        logits = F.interpolate(forward(view).float(), size, mode="bilinear", align_corners=False)
        one = logits[0]
        if flip:
            one = _both(one, logits[1].flip(-1), flip_merge)
        merged = one if merged is None else _both(merged, one, scale_merge)
    if merged is None:
        raise ValueError("no scales")
    return merged


def _both(one: Tensor, other: Tensor, rule: Literal["sum", "max"]) -> Tensor:
    return one + other if rule == "sum" else torch.maximum(one, other)
