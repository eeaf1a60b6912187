"""What a transform is: parameters are drawn first, then applied; and the pipeline of several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from ...plugin.protocols import Arrays


class Step(Protocol):
    """One joint transform. `apply` is a pure function: the same arrays and draw give the same result."""

    def draw(self, rng: np.random.Generator, size: tuple[int, int]) -> Any:
        """Return the random parameters for arrays of `size` (H, W)."""
        ...

    def apply(self, arrays: Arrays, drawn: Any) -> Arrays:
        """Return the transformed arrays."""
        ...


def image_size(arrays: Arrays) -> tuple[int, int]:
    """Return (H, W) of the image."""
    height, width = arrays["image"].shape[:2]
    return int(height), int(width)


@dataclass(frozen=True)
class Pipeline:
    """Steps in order, then tensors: the `Transform` that the loader calls.

    Attributes:
        steps: the joint transforms.
        keep: spatial arrays wanted in addition to the image; others are dropped before any work is done.
    """

    steps: tuple[Step, ...]
    keep: frozenset[str] = frozenset()

    def __call__(self, arrays: Arrays, rng: np.random.Generator) -> dict[str, Tensor]:
        """Return the tensors of one sample; all randomness comes from `rng`."""
        wanted = self.keep | {"image"}
        arrays = {k: v for k, v in arrays.items() if k in wanted or not (k in SPATIAL or k.startswith("extra/"))}
        for step in self.steps:
            arrays = step.apply(arrays, step.draw(rng, image_size(arrays)))
        return to_tensors(arrays)


SPATIAL = frozenset({"image", "mask", "saliency", "scores"})
"""Names of the arrays that are transformed with the image; so are extras of other names."""


def array_name(extra: str) -> str:
    """Return the name of a sample's extra among its arrays: "saliency" and "mask", or "extra/<name>"."""
    return extra if extra in SPATIAL else f"extra/{extra}"


def greys(arrays: Arrays) -> list[str]:
    """Return the names of the grey maps among the arrays, (H, W) uint8: saliency and other extras."""
    return [name for name in arrays if name == "saliency" or name.startswith("extra/")]


def to_tensors(arrays: Arrays) -> dict[str, Tensor]:
    """Return image (3, H, W) float32, mask (H, W) int64, saliency and other extras (1, H, W), scores, the rest."""
    tensors = {}
    for name, value in arrays.items():
        if not isinstance(value, np.ndarray):
            tensors[name] = value
            continue
        array = value
        if name == "image":
            array = array.transpose(2, 0, 1).astype(np.float32, copy=False)
        elif name == "mask":
            array = array.astype(np.int64)
        elif name == "saliency" or name.startswith("extra/"):
            array = array[None].astype(np.float32, copy=False)
        tensors[name] = torch.from_numpy(np.array(array, order="C"))
    return tensors
