"""Entries of torchvision's registry for the weights of our backbones; torchvision is imported only when needed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from ..errors import CheckpointError
from ..types import IMAGENET, HubFile, Normalization

T = TypeVar("T")

_CONVOLUTIONS = {0: "conv1_1", 2: "conv1_2", 5: "conv2_1", 7: "conv2_2", 10: "conv3_1", 12: "conv3_2", 14: "conv3_3"}
_CONVOLUTIONS |= {17: "conv4_1", 19: "conv4_2", 21: "conv4_3", 24: "conv5_1", 26: "conv5_2", 28: "conv5_3"}


def torchvision_file(name: str, normalization: Normalization) -> HubFile:
    """Return torchvision's IMAGENET1K_V1 of the network called `name`.

    Raises:
        CheckpointError: torchvision has none, or the backbone expects differently normalised pixels.
    """
    from torchvision.models import get_model_weights, list_models

    if name not in list_models():
        raise CheckpointError(f"weights: hub: torchvision has no {name}")
    if normalization != IMAGENET:
        raise CheckpointError(
            f"weights: hub: torchvision's {name} wants pixels in RGB with ImageNet's mean and deviation, this backbone "
            "wants others; set backbone_options {normalization: imagenet}"
        )
    entry = get_model_weights(name)["IMAGENET1K_V1"]
    file = entry.url.rpartition("/")[2]
    return HubFile(
        file,
        address=entry.url,
        licence="BSD-3-Clause (torchvision)",
        mebibytes=entry.meta.get("_file_size", 0),
        sha256=file.removesuffix(".pth").rpartition("-")[2],
    )


def vgg16_names(tensors: Mapping[str, T]) -> dict[str, T]:
    """Return the tensors of torchvision's VGG-16 under the names of ours, without its classifier."""
    names = {f"features.{place}.": f"{ours}." for place, ours in _CONVOLUTIONS.items()}
    heads = {name: name[: name.rfind(".") + 1] for name in tensors}
    return {names[head] + name.removeprefix(head): tensors[name] for name, head in heads.items() if head in names}
