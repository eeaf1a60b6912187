"""What a plugin asks for, by the options that it is given: in words, and for every choice that changes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic import ValidationError

from .protocols import PluginOptions, Requirements, Trainable

Given = dict[str, Any]
"""Options by name, as a recipe gives them; those that are left out have their defaults."""


def variants(cls: type[Trainable[Any, Any]]) -> Iterator[tuple[Given, Requirements]]:
    """Yield (options, what is asked with them): the defaults, then every value of an option that is one of a few.

    Options that have to be given and are not one of a few cannot be guessed; combinations with them are left out.
    """
    tried: list[Given] = [{}]
    for name, field in cls.Options.model_fields.items():
        tried += [{name: value} for value in _choices(field.annotation)]
    for given in tried:
        try:
            asked = cls.requirements(_validated(cls.Options, given))
        except (AttributeError, ValidationError):
            continue  # an option that has to be given decides, or this one does not go alone
        yield given, asked


def learns(cls: type[Trainable[Any, Any]]) -> bool:
    """Return whether the plugin trains with any options; of one whose options cannot be guessed, True."""
    seen = [asked.trains for _, asked in variants(cls)]
    return any(seen) or not seen


def differing(cls: type[Trainable[Any, Any]]) -> list[tuple[Given, Requirements]]:
    """Return what is asked by default, and each option that changes it with what is asked then; {} says: always."""
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
    """Return options of which those that have to be given may be absent."""
    if any(field.is_required() for name, field in options.model_fields.items() if name not in given):
        return options.model_construct(**given)
    return options.model_validate(given)
