"""The sentences that CLIP reads: texts of classes, words for the background, and their token numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from wsseg_cli.plugin import ClassNames, IntArray, PluginError, RecipeError

from .options import ClipesOptions

REMEDY = (
    "pip install 'wsseg[clip]', which brings CLIP's vocabulary, or give their token numbers, start and end included, "
    "in the option `tokens`, {sentence: [49406, …, 49407]}"
)


class Published(NamedTuple):
    """A published list: the text of each class by every name that the class has, and the background words."""

    texts: Mapping[str, str]
    background: tuple[str, ...]


@cache
def _data() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(files(__package__).joinpath("texts.json").read_text(encoding="utf-8"))
    return content


@cache
def published(name: str) -> Published:
    """Return the published list called `name`, voc or coco; COCO's classes have the published and COCO's names."""
    rows = _data()[name]
    texts = {row[key]: row["text"] for key in ("name", "coco_name") for row in rows["classes"] if key in row}
    return Published(texts, tuple(row["text"] for row in rows["background"]))


@cache
def published_tokens() -> Mapping[str, Sequence[int]]:
    """Return the token numbers of the sentences of both published lists."""
    data = _data()
    rows = [row for name in ("voc", "coco") for part in data[name].values() for row in part]
    return {sentence(data["template"], row["text"]): row["tokens"] for row in rows}


def sentence(template: str, text: str) -> str:
    """Return the template with the text in it."""
    return template.replace("{}", text)


def class_texts(options: ClipesOptions, classes: ClassNames) -> list[str]:
    """Return the text of each class.

    Raises:
        RecipeError: the published list lacks a class, or a text is given for a class that does not exist.
    """
    known = {name: name for name in classes} if options.texts == "names" else published(options.texts).texts
    unknown = [name for name in options.class_texts if name not in classes.names]
    if unknown:
        raise RecipeError(f"class_texts: {unknown[0]!r} is none of the classes {', '.join(classes)}")
    texts = {**known, **options.class_texts}
    lacking = [name for name in classes if name not in texts]
    if lacking:
        raise RecipeError(
            f"texts: {options.texts} has no class {lacking[0]!r}; "
            "give its text in class_texts, or take the names themselves: texts: names"
        )
    return [texts[name] for name in classes]


def background_words(options: ClipesOptions, classes: ClassNames) -> list[str]:
    """Return the words that compete with the classes; those that are classes themselves are left out."""
    words = options.background
    if words is None:
        words = published("coco" if options.texts == "coco" else "voc").background
    own = {name.casefold() for name in (*classes, *options.class_texts.values())}
    return [word for word in dict.fromkeys(words) if word.casefold() not in own]


def sentences(options: ClipesOptions, texts: Sequence[str]) -> list[str]:
    """Return the sentences of texts, those of the first template first."""
    return [sentence(template, text) for template in options.templates for text in texts]


def without_tokens(options: ClipesOptions, wanted: Sequence[str]) -> list[str]:
    """Return the sentences whose token numbers neither the recipe nor a published list gives."""
    return [text for text in wanted if text not in options.tokens and text not in published_tokens()]


def has_tokenizer() -> bool:
    """Return whether a tokenizer with CLIP's vocabulary is installed; nothing is imported."""
    return find_spec("open_clip") is not None


def token_numbers(options: ClipesOptions, wanted: Sequence[str]) -> IntArray:
    """Return the token numbers of sentences, (N, context) int64, zeros after the end.

    Raises:
        PluginError: no tokenizer is installed and some sentences have no numbers. RecipeError: a sentence is too long,
            or a number is not in the vocabulary.
    """
    rest = without_tokens(options, wanted)
    if rest and not has_tokenizer():
        raise PluginError(f"{len(rest)} sentences have to be tokenized, such as {rest[0]!r}: {REMEDY}")
    numbers = {**published_tokens(), **options.tokens, **(_tokenized(rest) if rest else {})}
    sizes = options.sizes
    table = np.zeros((len(wanted), sizes.context), np.int64)
    for row, text in zip(table, wanted, strict=True):
        found = numbers[text]
        if len(found) > sizes.context:
            raise RecipeError(f"{text[:80]!r} has {len(found)} tokens; CLIP reads {sizes.context}: give a shorter text")
        if max(found) >= sizes.vocabulary:
            raise RecipeError(f"{text[:80]!r}: token {max(found)} is none of the {sizes.vocabulary} of the vocabulary")
        row[: len(found)] = found
    return table


def _tokenized(wanted: Sequence[str]) -> dict[str, list[int]]:
    """Return the token numbers of sentences, start and end included, by open_clip's tokenizer, which is CLIP's."""
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    return {text: [start, *tokenizer.encode(text), end] for text in wanted}
