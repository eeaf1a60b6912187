"""The linear layer from features to class maps, and what it starts from."""

from __future__ import annotations

from typing import Literal

from torch import nn

HeadInit = Literal["xavier", "kaiming", "uniform", "zero"]


def class_layer(channels: int, maps: int, start: HeadInit = "xavier") -> nn.Conv2d:
    """Return a 1x1 convolution (N, channels, h, w) -> (N, maps, h, w) without bias.

    start: of its weights, "xavier" as in the PSA family, "kaiming" (normal) as in PuzzleCAM, "uniform" within
    1 / sqrt(channels), torch's default, as in IRN, or "zero". What a few hundred images and steps cannot teach
    (directions of the features that their means do not span) keeps its starting value, and random values there are
    noise in every map. From zero the layer still learns: its gradient is the features' own.
    """
    layer = nn.Conv2d(channels, maps, 1, bias=False)
    if start == "zero":
        nn.init.zeros_(layer.weight)
    elif start == "xavier":
        nn.init.xavier_uniform_(layer.weight)
    elif start == "kaiming":
        nn.init.kaiming_normal_(layer.weight)
    return layer
