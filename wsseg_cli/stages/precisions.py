"""The precisions that a recipe's stages predict in, and those that a device does not have."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from ..engine.arithmetic import refusal
from ..recipe.sections import Recipe
from ..recipe.yaml_core import Address
from ..settings import InferSettings


def refused_precisions(recipe: Recipe, stages: Collection[str], device: str) -> Iterator[tuple[Address, str]]:
    """Yield the address of each precision that the device does not have, and what is wrong with it."""
    for at, infer in _views(recipe, stages):
        if said := refusal(device, infer.precision):
            yield (*at, "precision"), said


def _views(recipe: Recipe, stages: Collection[str]) -> Iterator[tuple[Address, InferSettings]]:
    """Yield the test-time views of the stages, and where the recipe has them."""
    if recipe.cam is not None and "cam" in stages:
        yield ("cam", "infer"), recipe.cam.infer
    if recipe.refine is not None and "refine" in stages:
        yield ("refine", "infer"), recipe.refine.infer
        for number, one in enumerate(recipe.refine.chain):
            if one.infer is not None and one.infer != recipe.refine.infer:
                yield ("refine", "refiner", number, "infer"), one.infer
    if "eval" in stages:
        yield ("eval", "infer"), recipe.eval.infer
