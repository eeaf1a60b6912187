"""The linear layer from features to class maps, and its initialisation."""

from __future__ import annotations

from typing import Literal

from torch import nn

HeadInit = Literal["xavier", "kaiming", "uniform", "zero"]


def class_layer(channels: int, maps: int, start: HeadInit = "xavier") -> nn.Conv2d:
    """Return a 1x1 convolution (N, channels, h, w) -> (N, maps, h, w) without bias.

    start: initialisation of its weights: "xavier" as in the PSA family, "kaiming" (normal) as in PuzzleCAM, "uniform"
    within 1 / sqrt(channels), torch's default, as in IRN, or "zero". Weights that a few hundred images and steps cannot
    train (feature directions that the mean features do not span) keep their initial values, and random ones there are
    noise in every map. From zero the layer still learns: its gradient comes from the features.
    """
    layer = nn.Conv2d(channels, maps, 1, bias=False)
    if start == "zero":
        nn.init.zeros_(layer.weight)
    elif start == "xavier":
        nn.init.xavier_uniform_(layer.weight)
    elif start == "kaiming":
        nn.init.kaiming_normal_(layer.weight)
    return layer
