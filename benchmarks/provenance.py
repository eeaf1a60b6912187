"""Which entry point of a plugin or stage gave an array: for the column "through" of docs/parity.md."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from wsseg_cli.ops import masks
from wsseg_cli.plugin import discovery
from wsseg_cli.stages import pseudo
from wsseg_cli.types import ScoreMap

METHODS = {
    "methods": (
        *("scores", "logits", "training_step", "after_step", "precompute"),
        *("class_maps", "region_map", "local_crops", "refined_labels", "token_labels", "par"),
    ),
    "refiners": ("refine", "walk_start", "confident_labels", "label_scores", "edge"),
    "segmenters": ("logits", "published_pixels"),
}
"""What the stages call, and what a refiner or a step learns from, by kind of plugin."""


class Provenance:
    """Wraps the entry points and keeps what they return while a test runs.

    Made before the tests are imported, so that they import the wrapped functions.
    """

    def __init__(self) -> None:
        self.seen: list[tuple[str, np.ndarray]] = []
        for group, names in METHODS.items():
            for found in discovery.find(group):
                for cls in discovery.load_found(found).__mro__:
                    for name in names:
                        if name in vars(cls) and not hasattr(vars(cls)[name], "__wrapped__"):
                            setattr(cls, name, self._watched(vars(cls)[name], f"{group[:-1].title()}.{name}"))
        ScoreMap.full = self._watched(ScoreMap.full, "ScoreMap.full")  # type: ignore[method-assign]
        pseudo.pseudo_mask = self._watched(pseudo.pseudo_mask, "stage pseudo")
        for name in ("mask_from_map", "mask_from_scores", "crf_marginals", "probabilities"):
            setattr(masks, name, self._watched(getattr(masks, name), f"masks.{name}"))

    def _watched(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            result = function(*args, **named)
            self.seen += [(label, array) for array in _arrays(result)]
            return result

        return call

    def forget(self) -> None:
        """Begin a new test."""
        self.seen.clear()

    def of(self, array: np.ndarray) -> str:
        """Return the entry point that returned `array`, a part of it or an equal one; "" if none did."""
        for label, known in reversed(self.seen):  # whoever returned it last stands closest to the stage
            if np.shares_memory(array, known):
                return label
        for label, known in reversed(self.seen):
            if array.shape == known.shape and array.size > 1 and np.array_equal(array, known):
                return label
        return ""


def _arrays(result: Any) -> list[np.ndarray]:
    if isinstance(result, ScoreMap):
        parts: list[np.ndarray | None] = [result.scores, result.classes, result.background, result.strided]
        return [part for part in parts if part is not None]
    if isinstance(result, dict):
        result = tuple(result.values())
    if isinstance(result, tuple):
        return [array for part in result for array in _arrays(part)]
    if hasattr(result, "detach"):
        return [result.detach().cpu().numpy()]
    return [result] if isinstance(result, np.ndarray) else []
