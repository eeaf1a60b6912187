"""Which entry point of a plugin or stage gave an array: for the column "through" of docs/parity.md."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from torch import nn

from wsseg_cli.ops import masks
from wsseg_cli.plugin import discovery
from wsseg_cli.stages import pseudo
from wsseg_cli.types import ScoreMap

METHODS = {
    "methods": (
        *("scores", "logits", "training_step", "after_step", "precompute"),
        *("class_maps", "region_map", "local_crops", "refined_labels", "token_labels", "par", "projections", "energy"),
        *("pixels", "boxes", "refined", "published_pixels"),
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
        self.at_work: list[str] = []
        self.trained: list[nn.Module] = []
        for group, names in METHODS.items():
            for found in discovery.find(group):
                for cls in discovery.load_found(found).__mro__:
                    for name in names:
                        if name in vars(cls) and not hasattr(vars(cls)[name], "__wrapped__"):
                            setattr(cls, name, self._watched(vars(cls)[name], f"{group[:-1].title()}.{name}"))
        ScoreMap.full = self._watched(ScoreMap.full, "ScoreMap.full")  # type: ignore[method-assign]
        for name in ("pseudo_mask", "pseudo_masks", "refined_mask"):
            setattr(pseudo, name, self._watched(getattr(pseudo, name), "stage pseudo"))
        for name in ("mask_from_map", "mask_from_scores", "crf_marginals", "probabilities"):
            setattr(masks, name, self._watched(getattr(masks, name), f"masks.{name}"))

    def _watched(self, function: Callable[..., Any], label: str) -> Callable[..., Any]:
        @functools.wraps(function)
        def call(*args: Any, **named: Any) -> Any:
            if label.endswith(".training_step"):
                self.trained.append(args[1])
            self.at_work.append(label)
            try:
                result = function(*args, **named)
            finally:
                self.at_work.pop()
            self.seen += [(label, array) for array in _arrays(result)]
            return result

        return call

    def note(self, kept: Any) -> None:
        """Note what a test keeps while an entry point is at work, by the outermost one, unless another has given it."""
        for array in _arrays(kept) if self.at_work else []:
            if not any(np.shares_memory(array, known) for _, known in self.seen):
                self.seen.append((f"inside {self.at_work[0]}", array))

    def forget(self) -> None:
        """Begin a new test."""
        self.seen.clear()
        self.trained.clear()

    def of(self, array: np.ndarray) -> str:
        """Return the entry point that returned `array`, a part of it or an equal one, or inside which it was noted.

        "" if there is none.
        """
        for label, known in reversed(self.seen):  # whoever returned it last stands closest to the stage
            if np.shares_memory(array, known):
                return label
        for label, known in reversed(self.seen):
            if array.shape == known.shape and array.size > 1 and np.array_equal(array, known):
                return label
        gradients = (p.grad for model in self.trained for p in model.parameters() if p.grad is not None)
        if any(np.shares_memory(array, gradient.cpu().numpy()) for gradient in gradients):
            return "Method.training_step, backward"
        return ""


def _arrays(result: Any) -> list[np.ndarray]:
    if isinstance(result, ScoreMap):
        parts: list[np.ndarray | None] = [result.scores, result.classes, result.background, result.strided]
        return [part for part in parts if part is not None]
    if isinstance(result, dict):
        result = tuple(result.values())
    if isinstance(result, tuple | list):
        return [array for part in result for array in _arrays(part)]
    if hasattr(result, "detach"):
        return [result.detach().cpu().numpy()]
    return [result] if isinstance(result, np.ndarray) else []
