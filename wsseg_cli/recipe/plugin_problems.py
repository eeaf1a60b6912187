"""What is wrong with the plugins that a recipe names: options, backbones, and keys that they do not read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from ..errors import PluginError, RecipeError
from ..plugin import discovery
from ..plugin.backbones import checked_entry, entry_class
from ..plugin.protocols import Method, NetworkOptions, Plugin, PluginOptions, Predictor, Refiner
from .evaluating import EvalSettings
from .problems import Problem, problems_of, show, validated_json
from .sections import PLUGIN, FrozenClsSettings
from .yaml_core import Address, Document

MISSING_TRAINING = "give batch_size, optim, and max_steps or epochs"
"""What a section with only a method and its weights lacks."""


def options_of(
    cls: type[Plugin[Any]], data: Mapping[str, Any], at: Address
) -> tuple[PluginOptions | None, list[Problem]]:
    """Return the options of a plugin, None if they are not valid, and what is wrong with them; at: their address."""
    try:
        options = validated_json(cls.Options, data)
    except ValidationError as error:
        return None, problems_of(error, cls.Options, at)
    problems = _backbone_problems(options, at)
    return (None if problems else options), problems


def _backbone_problems(options: PluginOptions, at: Address) -> list[Problem]:
    """Return what is wrong with the backbone that a plugin's options name, and with the options given to it."""
    if not isinstance(options, NetworkOptions):
        return []
    try:
        entry = checked_entry(options.backbone, options.backbone_options)
        entry.feature_maps  # noqa: B018 (a network of timm says here that it cannot be a backbone with these options)
    except (PluginError, RecipeError) as error:
        return [Problem((*at, "backbone"), str(error))]
    except ValidationError as error:
        return problems_of(error, entry_class(options.backbone)[0].Options, (*at, "backbone_options"))
    return []


def plugin_problems(document: Document) -> list[Problem]:
    """Return all that is wrong with the plugins that a recipe names and with their options."""
    problems: list[Problem] = []
    for group, key, inner in PLUGIN.values():
        section = document.data.get(key)
        if not isinstance(section, dict):
            continue
        choice = section.get(inner) if inner else section
        at: Address = (key, inner) if inner else (key,)
        if isinstance(choice, list):
            for number, one in enumerate(choice):
                problems += _problems_of_choice(document, group, one, (*at, number), one)
        else:
            problems += _problems_of_choice(document, group, choice, at, section)
    return problems


def _problems_of_choice(document: Document, group: str, choice: Any, at: Address, section: Any) -> list[Problem]:
    """Return what is wrong with one plugin that a recipe names; section: where its training is."""
    if not isinstance(choice, dict) or not isinstance(choice.get("name"), str):
        return []
    try:
        cls = discovery.load(group, choice["name"])
    except PluginError as error:
        return [Problem((*at, "name"), str(error).partition("\n")[0])]
    options = choice.get("options", {})
    if not isinstance(options, dict):
        return []
    validated, problems = options_of(cls, options, (*at, "options"))
    if validated is not None and issubclass(cls, Refiner):
        place = (*at, "train") if section is choice else (at[0], "train")
        problems += _training(cls.requirements(validated).trains, choice["name"], section, place)
    elif validated is not None and issubclass(cls, Method):
        problems += _classifier(cls.requirements(validated).trains, choice["name"], section)
        if not cls.requirements(validated).trains:
            problems += _starts_from_nothing(document, choice["name"])
        problems += _masks(cls, choice["name"], document)
    return problems


def _classifier(trains: bool, name: str, section: Mapping[str, Any]) -> list[Problem]:
    given = [key for key in section if key not in FrozenClsSettings.model_fields]
    if trains and not given:
        return [Problem(("train_cls",), f"method {name!r} trains: {MISSING_TRAINING}")]
    if not trains:
        return [Problem(("train_cls", key), f"is not used: method {name!r} learns nothing") for key in given]
    return []


def _starts_from_nothing(document: Document, name: str) -> list[Problem]:
    """Return the trainings that would start from the classifier's network, where the classifier has none of its own."""

    def starts(data: Any, at: Address) -> Iterator[Address]:
        if isinstance(data, dict) and data.get("weights") == "train_cls":
            yield (*at, "weights")
        inner = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
        for key, value in inner:
            yield from starts(value, (*at, key))

    weights = document.data["train_cls"].get("weights")
    why = f"train_cls: method {name!r} learns nothing and keeps no network to start from; name weights of your own"
    why += f", such as train_cls.weights, {show(weights)}" if weights else ""
    sections = ("refine", "train_seg")
    return [Problem(address, why) for key in sections for address in starts(document.data.get(key), (key,))]


def _masks(method: type[Method[Any, Any]], name: str, document: Document) -> list[Problem]:
    """Return the keys of `eval` that are about a network's masks, in a recipe that makes none."""
    section = document.data.get("eval")
    if issubclass(method, Predictor) or document.data.get("train_seg") or not isinstance(section, dict):
        return []
    why = f"is not used: no train_seg section, and method {name!r} gives score maps rather than masks"
    default = EvalSettings().model_dump(mode="json")
    return [Problem(("eval", key), why) for key in ("infer", "crf") if section.get(key, default[key]) != default[key]]


def _training(learns: bool, name: str, section: Mapping[str, Any], at: Address) -> list[Problem]:
    trained = section.get("train") is not None
    if learns and not trained:
        return [Problem(at, f"is missing: refiner {name!r} learns")]
    if trained and not learns:
        return [Problem(at, f"is not used: refiner {name!r} learns nothing")]
    return []
