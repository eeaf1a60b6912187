"""Plugins inside a stage: build one from the recipe, load its trained network, say in a header what it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import __version__, nets
from ..engine import checkpoint
from ..errors import PluginError
from ..protocols import Method, Refiner, Segmenter, Trainable
from ..sections import PLUGIN
from ..types import ClassNames, Sample
from . import Context

if TYPE_CHECKING:
    from torch import nn


def method_of(context: Context, classes: ClassNames) -> Method:
    """Return the recipe's method.

    Raises:
        RecipeError: its backbone lacks a feature map that the method needs.
    """
    cls, options = context.recipe.plugin("train-cls")
    method: Method = cls(options, classes)  # type: ignore[arg-type, assignment, call-arg]
    backbone = getattr(options, "backbone", None)
    if isinstance(backbone, str):
        nets.require_taps(backbone, method.taps)
    return method


def refiner_of(context: Context, classes: ClassNames) -> Refiner:
    """Return the recipe's refiner."""
    cls, options = context.recipe.plugin("refine")
    refiner: Refiner = cls(options, classes)  # type: ignore[arg-type, assignment, call-arg]
    return refiner


def segmenter_of(context: Context, classes: ClassNames) -> Segmenter:
    """Return the recipe's segmenter."""
    cls, options = context.recipe.plugin("train-seg")
    segmenter: Segmenter = cls(options, classes)  # type: ignore[arg-type, assignment, call-arg]
    return segmenter


def check_extras(name: str, needs: frozenset[str], samples: Sequence[Sample]) -> None:
    """Check that every sample brings what a method needs beside the image.

    Raises:
        PluginError: one does not.
    """
    for need in sorted(needs - {"mask"}):
        lacking = [sample.image_id for sample in samples if need not in sample.extras]
        if lacking:
            raise PluginError(
                f"{name} needs a {need} map of each image; {len(lacking)} of {len(samples)} have none, "
                f"such as {lacking[0]!r}; name their folder in dataset.options.{need}"
            )


def header_of(context: Context, stage: str, plugin: Trainable) -> dict[str, Any]:
    """Return what a model file says of itself, enough to use it without the run."""
    group, _, inner = PLUGIN[stage]
    choice = getattr(context.recipe.section(stage), inner)
    return {
        "wsseg": __version__,
        "kind": group,
        "name": choice.name,
        "options": plugin.options.model_dump(mode="json"),
        "classes": list(plugin.classes),
        "normalization": asdict(plugin.normalization),
        "recipe": context.recipe.recipe.name,
    }


def trained(plugin: Trainable, path: Path, device: str) -> nn.Module:
    """Return the plugin's network with the weights in `path`, on `device`, ready for inference.

    Raises:
        CheckpointError: missing, or of another network, key by key.
    """
    tensors, _ = checkpoint.read_tensors(path)
    model = plugin.build_model()
    checkpoint.load_strictly(model, tensors, str(path))
    return model.to(device).eval()
