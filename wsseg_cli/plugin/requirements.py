"""What a plugin asks for with given options: in words, and for every choice that changes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from .protocols import PluginOptions, Requirements, Trainable

Given = dict[str, Any]
"""Options by name, as a recipe gives them; omitted ones have their defaults."""


def variants(cls: type[Trainable[Any, Any]]) -> Iterator[tuple[Given, Requirements]]:
    """Yield (options, requirements with them): the defaults, then each value of every option with a few fixed choices.

    Required options without fixed choices cannot be guessed; combinations with them are left out.
    """
    tried: list[Given] = [{}]
    for name, field in cls.Options.model_fields.items():
        tried += [{name: value} for value in _choices(field.annotation)]
    for given in tried:
        try:
            asked = cls.requirements(_validated(cls.Options, given))
        except (AttributeError, ValidationError):
            continue  # a required option decides, or this one cannot be given alone
        yield given, asked


def learns(cls: type[Trainable[Any, Any]]) -> bool:
    """Return whether the plugin trains with any options; True if its options cannot be guessed."""
    seen = [asked.trains for _, asked in variants(cls)]
    return any(seen) or not seen


def differing(cls: type[Trainable[Any, Any]]) -> list[tuple[Given, Requirements]]:
    """Return the default requirements, and each option that changes them with those it leads to; {} means always."""
    found: list[tuple[Given, Requirements]] = []
    for given, asked in variants(cls):
        if asked not in [other for _, other in found]:
            found.append((given, asked))
    return found if len(found) > 1 else [({}, asked) for _, asked in found]


def in_words(asked: Requirements, group: str) -> str:
    """Return requirements as `plugins show` states them."""
    words = [f"{name} of each training image" for name in sorted(asked.training - asked.inference)]
    words += [f"{name} of each image" for name in sorted(asked.inference)]
    if asked.feature_maps:
        words.append(f"a backbone with {', '.join(sorted(asked.feature_maps))}")
    if group == "refiners" and asked.trains:
        words.append("refine.train")
    if group == "methods" and not asked.trains:
        words.append("no training")
    if asked.gradients:
        words.append("gradients at inference")
    return "; ".join(words) or "nothing"


def _choices(annotation: Any) -> tuple[Any, ...]:
    if annotation is bool:
        return (False, True)
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def _validated(options: type[PluginOptions], given: Given) -> PluginOptions:
    """Return options of which required ones may be absent."""
    if any(field.is_required() for name, field in options.model_fields.items() if name not in given):
        return options.model_construct(**given)
    return options.model_validate(given)
