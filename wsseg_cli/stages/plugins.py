"""Plugins inside a stage: build one from the recipe, load its trained network, describe it in a header."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError, with_config
from typing_extensions import TypedDict

from .. import __version__, nets
from ..disk.records import OPEN, check_record
from ..engine import checkpoint
from ..engine.arithmetic import autocast
from ..engine.frozen import load_trained
from ..engine.memory import built
from ..errors import CheckpointError, StageError, WssegError
from ..nets.inference import for_inference
from ..plugin import discovery
from ..plugin.protocols import MaskRefiner, Method, NetworkOptions, Predictor, Refiner, Segmenter, Trainable
from ..recipe.loading import LoadedRecipe
from ..recipe.renamed import with_new_names
from ..recipe.sections import PLUGIN, Recipe
from ..settings import MaskCrfSettings, Precision
from ..types import ByteArray, ClassNames, Json
from . import Context

if TYPE_CHECKING:
    from torch import nn


@with_config(OPEN)
class ModelHeader(TypedDict):
    """The part of a model file's header that is needed to use it without the run that made it."""

    kind: str
    name: str
    options: Json
    classes: list[str]
    normalization: Json


def method_of(context: Context, classes: ClassNames) -> Method[Any, Any]:
    """Return the recipe's method.

    Raises:
        RecipeError: its backbone lacks a feature map that it needs.
    """
    cls, options = context.recipe.plugin("train-cls")
    return checked(cls(options, classes))


def refiner_of(context: Context, classes: ClassNames, number: int = -1) -> Refiner[Any, Any]:
    """Return the recipe's refiner; of several, the one with this number, by default the last.

    Raises:
        RecipeError: its backbone lacks a feature map that it needs.
    """
    cls, options = context.recipe.plugin("refine", number)
    return checked(cls(options, classes))


def mask_refiner_of(recipe: LoadedRecipe, classes: ClassNames) -> MaskRefiner[Any] | None:
    """Return the mask refiner of the recipe's pseudo section, None without one."""
    if recipe.section("pseudo").refiner is None:
        return None
    cls, options = recipe.plugin("pseudo")
    return cls(options, classes)


def segmenter_of(context: Context, classes: ClassNames) -> Segmenter[Any, Any]:
    """Return the recipe's segmenter.

    Raises:
        RecipeError: its backbone lacks a feature map that it needs.
    """
    cls, options = context.recipe.plugin("train-seg")
    return checked(cls(options, classes))


def network_stage(recipe: Recipe) -> str:
    """Return the stage whose network gives masks: train-seg, or train-cls in a recipe without train-seg."""
    return "train-seg" if recipe.train_seg is not None or recipe.train_cls is None else "train-cls"


def predictor_of(context: Context, classes: ClassNames) -> Predictor[Any, Any]:
    """Return the plugin whose network gives masks: the segmenter, or a method that is a segmentation network itself.

    Raises:
        StageError: the recipe has no segmenter, and its method gives no masks.
    """
    if network_stage(context.recipe.recipe) == "train-seg":
        return segmenter_of(context, classes)
    method = method_of(context, classes)
    if not isinstance(method, Predictor):
        name = context.recipe.section("train-cls").method.name
        raise StageError(f"the recipe has no train_seg section, and method {name!r} gives score maps rather than masks")
    return method


def wants_strided(context: Context, classes: ClassNames) -> bool:
    """Return whether the recipe's first refiner starts from the second resolution of a score map."""
    return context.recipe.recipe.refine is not None and refiner_of(context, classes, 0).required.strided


def classifier(context: Context, section: str) -> Path:
    """Return the model file of train-cls, from which another training starts.

    section: address of that training in the recipe.

    Raises:
        StageError: it is missing; the message says how to do without it.
    """
    if context.run.started("train-cls") is None:
        cls = context.recipe.recipe.train_cls
        other = cls.weights if cls is not None else "none"
        raise StageError(
            f"{context.run.folder('train-cls')} is missing, and `{section}.weights: train_cls` starts from it: run "
            f"`wsseg train-cls` first, or start from other weights with `--set {section}.weights={other}`"
        )
    context.run.require("train-cls")
    return context.run.folder("train-cls") / checkpoint.MODEL


T = TypeVar("T", bound="Trainable[Any, Any]")


def checked(plugin: T) -> T:
    """Return the plugin itself.

    Raises:
        RecipeError: its backbone lacks a feature map that it needs.
    """
    asked = plugin.required.feature_maps
    if asked and isinstance(plugin.options, NetworkOptions):
        nets.require_feature_maps(plugin.options.backbone, asked)
    return plugin


def crf_image(crf: MaskCrfSettings | None, plugin: Trainable[Any, Any] | None, image: ByteArray) -> ByteArray:
    """Return the (H, W, 3) uint8 pixels that a stage's CRF sees: the photo's, or the published code's."""
    if crf is None or plugin is None or crf.image == "file":
        return image
    return plugin.published_pixels(image)


@contextmanager
def at_inference(plugin: Trainable[Any, Any], precision: Precision, device: str) -> Iterator[None]:
    """Let a plugin's network see an image: in `precision`, and without gradients unless the plugin asks for them."""
    import torch

    gradients = torch.enable_grad() if plugin.required.gradients else torch.inference_mode()
    with gradients, autocast(torch.device(device).type, precision):
        yield


def header_of(context: Context, stage: str, name: str, plugin: Trainable[Any, Any]) -> Json:
    """Return the header of a model file of plugin `name`, enough to use it without the run."""
    return {
        "wsseg": __version__,
        "kind": PLUGIN[stage][0],
        "name": name,
        "options": plugin.options.model_dump(mode="json"),
        "classes": list(plugin.classes),
        "normalization": asdict(plugin.normalization),
        "recipe": context.recipe.recipe.name,
    }


def trained(plugin: Trainable[Any, Any], path: Path, device: str, fast: bool = False) -> nn.Module:
    """Return the plugin's network with the weights in `path`, on `device`, ready for inference.

    fast: rearranged by `for_inference`; last digits may differ, and its tensors have other names.

    Raises:
        CheckpointError: the file is missing, or is of another network; differences are named key by key.
    """
    with _named(path):
        model: nn.Module = built(plugin)
    load_trained(model, path)
    model = model.to(device).eval()
    return for_inference(model) if fast else model


def predictor_from(path: Path) -> Predictor[Any, Any]:
    """Return the plugin that a model file names in its header, without the run that made it.

    Raises:
        CheckpointError: it is not a model file of a network that gives masks, or that network's input is now different.
        PluginError: its plugin is not installed.
    """
    remedy = "expected a model file of `wsseg train-seg`"
    header = check_record(checkpoint.read_header(path), ModelHeader, f"{path}: its header", remedy, CheckpointError)
    kind, name, pixels = header["kind"], header["name"], header["normalization"]
    if kind not in ("methods", "segmenters"):
        raise CheckpointError(f"{path}: a network of wsseg.{kind}; expected a segmentation network (`wsseg train-seg`)")
    with _named(path):
        cls = discovery.load(kind, name)
    if not issubclass(cls, Predictor):
        raise CheckpointError(
            f"{path}: the network of method {name!r} gives score maps rather than masks; "
            "expected a segmentation network (`wsseg train-seg`)"
        )
    try:
        today = with_new_names(header["options"], cls.Options.model_fields)
        with _named(path):
            options = cls.Options.model_validate_json(json.dumps(today))
            plugin = cls(options, ClassNames(header["classes"]))
    except ValidationError as error:
        first = error.errors()[0]
        at = ".".join(map(str, first["loc"]))
        raise CheckpointError(
            f"{path}: plugin {name!r} does not take its options: {at}: {first['msg']}; "
            f"wsseg {header.get('wsseg', '?')} wrote it: train it again, or use that version"
        ) from None
    with _named(path):  # this reads the options of a backbone for the first time
        ours = asdict(plugin.normalization)
    if any(_listed(ours[key]) != _listed(pixels.get(key)) for key in ours):
        raise CheckpointError(f"{path}: trained on pixels {pixels}, but plugin {name!r} now gives {ours}")
    return plugin


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Make an error about a plugin in a model file's header name the file."""
    try:
        yield
    except WssegError as error:
        raise type(error)(f"{path}: {error}") from error


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value
