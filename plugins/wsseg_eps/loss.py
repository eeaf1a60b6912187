"""The saliency loss of EPS: the class maps' foreground and background must add up to a saliency map."""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

Shrink = Literal["nearest", "area"]
"""How saliency is resized to the maps: `nearest` takes one pixel per cell (published), `area` their mean."""


class Explanation(NamedTuple):
    """A saliency map as the class maps explain it.

    Attributes:
        foreground: (N, 1, h, w), the sum of the classes that are salient.
        background: (N, 1, h, w), 1 - the sum of background and of the classes that are not salient.
        saliency: (N, 1, h, w), the mixture of both.
        overlap: (N, C), the salient share of each class's confident area.
    """

    foreground: Tensor
    background: Tensor
    saliency: Tensor
    overlap: Tensor


def saliency_loss(
    maps: Tensor,
    saliency: Tensor,
    labels: Tensor,
    *,
    tau: float = 0.4,
    lam: float = 0.5,
    shrink: Shrink = "nearest",
    inside: Tensor | None = None,
) -> Tensor:
    """Return the mean squared error of the explained saliency (EPS, Lee et al., CVPR 2021, section 3.2).

    maps: (N, C+1, h, w) raw, background last; saliency: (N, 1, H, W) in [0, 1]; labels: (N, C), any value but 0 means
    present. tau and lam as in `explain`. inside: (N, 1, h, w) bool, cells that count; by default all. The mean is over
    the cells of each image, then over the images.
    """
    small = shrunken(saliency, (maps.shape[2], maps.shape[3]), shrink)
    explained = explain(maps, small, labels, tau=tau, lam=lam, inside=inside)
    error = (explained.saliency - small).square()
    if inside is None:
        return error.mean()
    cells = inside.sum((1, 2, 3)).clamp(min=1)
    return ((error * inside).sum((1, 2, 3)) / cells).mean()


def explain(
    maps: Tensor, saliency: Tensor, labels: Tensor, *, tau: float, lam: float, inside: Tensor | None = None
) -> Explanation:
    """Return saliency as the maps explain it (EPS, section 3.2).

    maps: (N, C+1, h, w) raw, background last; saliency: (N, 1, h, w) in [0, 1]; labels: (N, C). tau: a present class is
    foreground if more than this share of its confident area is salient, background otherwise, for the whole map. lam:
    weight of the foreground map; the other share is the background map's. Absent classes are in neither.
    """
    probabilities = maps.float().softmax(1)
    classes, background = probabilities[:, :-1], probabilities[:, -1:]
    overlap = salient_share(classes, saliency, inside)
    present = labels.bool()
    salient = (present & (overlap > tau)).to(classes.dtype)[:, :, None, None]
    others = (present & (overlap <= tau)).to(classes.dtype)[:, :, None, None]
    foreground = (classes * salient).sum(1, keepdim=True)
    rest = 1 - (classes * others).sum(1, keepdim=True) - background
    return Explanation(foreground, rest, lam * foreground + (1 - lam) * rest, overlap)


@torch.no_grad()
def salient_share(probabilities: Tensor, saliency: Tensor, inside: Tensor | None = None) -> Tensor:
    """Return the share of each class's confident area that is salient, (N, C) in [0, 1).

    probabilities: (N, C, h, w); saliency: (N, 1, h, w). A pixel is confident, or salient, above 0.5. As published,
    1e-4 is added to the area for every pixel of the map, so that small areas get less than their true share.
    """
    confident = probabilities.round()
    area = confident + 1e-4
    if inside is not None:
        confident, area = confident * inside, area * inside
    return (confident * saliency.round()).sum((2, 3)) / area.sum((2, 3)).clamp(min=1e-4)


def shrunken(saliency: Tensor, size: tuple[int, int], rule: Shrink = "nearest") -> Tensor:
    """Return saliency (N, 1, H, W) at `size` (h, w), (N, 1, h, w); `nearest` takes pixel floor(i * H / h)."""
    return F.interpolate(saliency.float(), size=size, mode=rule)


def cells_inside(boxes: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Return which cells of a map show the image and not its padding, (N, 1, h, w) bool.

    boxes: (N, 4) pixels xmin, ymin, xmax, ymax of the image inside its crop, ends exclusive; side: of the crop; size:
    (h, w) of the map. A cell stands for the pixel that `shrunken` takes.
    """
    rows, columns = (torch.arange(n, device=boxes.device) * side // n for n in size)
    left, top, right, bottom = boxes[:, :, None].unbind(1)
    across = (columns >= left) & (columns < right)
    down = (rows >= top) & (rows < bottom)
    return (down[:, :, None] & across[:, None, :])[:, None]
