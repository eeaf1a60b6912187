"""Maps with a background channel, first (SEAM) or last (PPC on EPS): splitting, joining, strongest class."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Background = Literal[0, -1]
"""The position of the background channel: first or last."""


def foreground(maps: Tensor, background: Background = 0) -> Tensor:
    """Return the channels of the classes, (N, C, …), of maps (N, 1+C, …)."""
    return maps[:, 1:] if background == 0 else maps[:, :-1]


def join_background(behind: Tensor, classes: Tensor, background: Background = 0) -> Tensor:
    """Return (N, 1+C, …): the channel of background (N, 1, …) and those of the classes (N, C, …)."""
    return torch.cat([behind, classes] if background == 0 else [classes, behind], 1)


def known_labels(labels: Tensor, background: Background = 0) -> Tensor:
    """Return (N, 1+C, 1, 1): the multi-hot labels (N, C), and a 1 for background, which every image has."""
    behind = labels.new_ones(len(labels), 1)
    return join_background(behind, labels, background)[:, :, None, None]


def shown_channels(labels: Tensor, background: Background = 0) -> Tensor:
    """Return the positions (N, K), ascending, of the channels of 1+C that an image's labels (N, C) leave above 0.

    They are the image's classes, and the first and the last channel, of which one is the background. Images with fewer
    than K of them get channels of absent classes, too.
    """
    shown = known_labels(labels, background).flatten(1) > 0
    shown[:, 0] = shown[:, -1] = True
    most = int(shown.sum(1).max())
    return shown.float().topk(most, dim=1).indices.sort(dim=1).values


def take(maps: Tensor, positions: Tensor) -> Tensor:
    """Return the channels (N, K, h, w) of maps (N, 1+C, h, w) at each image's positions (N, K)."""
    images = torch.arange(len(maps), device=maps.device)[:, None]
    return maps[images, positions]


def remaining_background(maps: Tensor, background: Background = 0) -> Tensor:
    """Return the maps (N, 1+C, h, w) with 1 - max over the classes as background."""
    classes = foreground(maps, background)
    return join_background(1 - classes.amax(1, keepdim=True), classes, background)


def strongest_class(maps: Tensor, background: Background = 0) -> Tensor:
    """Return the maps (N, 1+C, h, w) with 0 for every class that does not have its pixel's highest score.

    Tied classes all stay; background is left as it is.
    """
    classes = foreground(maps, background)
    kept = classes.masked_fill(classes < classes.amax(1, keepdim=True), 0.0)
    behind = maps[:, :1] if background == 0 else maps[:, -1:]
    return join_background(behind, kept, background)
