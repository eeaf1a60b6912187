"""From normalised maps to labels of pixels and tokens, to regions, to local crops, and to masks refined by the image.

Maps are those of the labelled classes; all others are 0. Boxes are [top, bottom, left, right) of the image in a crop.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from wsseg_cli.plugin import IGNORE

Par = Callable[[Tensor, Tensor], Tensor]
"""(images (1, 3, h, w) in [0, 1], masks (1, K, h, w)) -> refined masks."""

Permutation = Callable[[int], Tensor]
"""A number of items -> a random order of them."""


def inside(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Return which pixels of maps of `size` are in boxes (N, 4), (N, H, W) bool."""
    rows, columns = (torch.arange(n, device=boxes.device) for n in size)
    top, bottom, left, right = boxes[:, :, None].unbind(1)
    return ((rows >= top) & (rows < bottom))[:, :, None] & ((columns >= left) & (columns < right))[:, None]


def uncertain_labels(maps: Tensor, boxes: Tensor, *, low: float, high: float) -> Tensor:
    """Return labels (N, H, W) int64: 0 up to `low`, 255 up to `high` and outside the box, else the best class + 1.

    maps: (N, C, H, W) in [0, 1]; the first of equal classes counts.
    """
    best = maps.argmax(1)
    value = maps.gather(1, best[:, None])[:, 0]
    labels = torch.where(value <= high, IGNORE, best + 1)
    labels[value <= low] = 0
    labels[~inside(boxes, (maps.shape[2], maps.shape[3]))] = IGNORE
    return labels


def region_map(maps: Tensor, *, low: float, high: float) -> Tensor:
    """Return regions (N, H, W) int64: 0 where no class is above `low`, 2 where one reaches `high`, else 1."""
    value = maps.amax(1)
    regions = torch.ones_like(value, dtype=torch.int64)
    regions[value <= low] = 0
    regions[value >= high] = 2
    return regions


def local_crops(
    sources: Tensor, regions: Tensor, *, size: int, count: int, negative_share: float, permutation: Permutation
) -> tuple[Tensor, Tensor]:
    """Return crops (count, N, 3, size, size) around pixels that are not confidently object, and which are positive.

    sources: (N, 3, H, W); regions: (N, H, W). Pixels are those of regions 0 and 1 where a crop fits, in random order;
    if these are fewer than `count`, all pixels where one fits. A crop is negative, 0 of (N, count), up to this mean of
    its regions.
    """
    margin = size // 2
    crops, flags = [], []
    for source, region in zip(sources, regions, strict=True):
        middle = region[margin : region.shape[0] - margin, margin : region.shape[1] - margin]
        places = (middle <= 1).nonzero()
        if len(places) < count:
            places = torch.ones_like(middle).nonzero()
        # moved by the margin to the middle and back to the corner: the position is that of the corner
        for top, left in places[permutation(len(places))[:count].to(places.device)].tolist():
            window = (slice(top, top + size), slice(left, left + size))
            crops.append(source[:, window[0], window[1]])
            flags.append(region[window].sum() / size**2 > negative_share)
    images = len(sources)
    stacked = torch.stack(crops).unflatten(0, (images, count)).transpose(0, 1)
    return stacked, torch.stack(flags).unflatten(0, (images, count)).to(sources.dtype)


def refined_labels(
    maps: Tensor, labels: Tensor, boxes: Tensor, pictures: Tensor, *, low: float, high: float, par: Par
) -> Tensor:
    """Return masks (N, H, W) int64 of maps that PAR has drawn to the image, under a high and a low background.

    A class where it beats even the high one, 0 where even the low one wins, 255 otherwise and outside the box.

    maps: (N, C, H, W); labels: (N, C) multi-hot; pictures: (N, 3, H, W) in [0, 1].
    """
    size = (int(maps.shape[2]), int(maps.shape[3]))
    half = (max(size[0] // 2, 1), max(size[1] // 2, 1))
    pictures = F.interpolate(pictures, half, mode="bilinear", align_corners=False)
    masks = []
    for image_maps, label, picture in zip(maps, labels, pictures, strict=True):
        values = torch.cat([label.new_zeros(1, dtype=torch.int64), label.nonzero()[:, 0] + 1])
        kept = image_maps[label > 0]
        stacks = [torch.cat([torch.full_like(image_maps[:1], b), kept])[None] for b in (high, low)]
        small = [F.interpolate(stack, half, mode="bilinear", align_corners=False).softmax(1) for stack in stacks]
        # both have the weights of one image, and PAR treats channels separately
        refined = par(picture[None], torch.cat(small, 1))
        full = F.interpolate(refined, size, mode="bilinear", align_corners=False)[0]
        strict, loose = (values[part.argmax(0)] for part in full.split(len(values)))
        masks.append(torch.where(strict > 0, strict, torch.where(loose > 0, IGNORE, 0)))
    joined = torch.stack(masks)
    joined[~inside(boxes, size)] = IGNORE
    return joined
