"""Options of CLIP-ES, and the sizes of a CLIP with a vision transformer."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from wsseg_cli.plugin import Count, PluginOptions, Share

HEAD_WIDTH = 64
"""Channels of one attention head, in every CLIP with a vision transformer."""

Width = Annotated[int, Field(ge=HEAD_WIDTH, multiple_of=HEAD_WIDTH)]
Template = Annotated[str, Field(pattern=r"\{\}")]


class ClipSizes(PluginOptions):
    """Sizes of a CLIP; the defaults are ViT-B/16's."""

    width: Width = Field(768, description="channels of the image tower")
    layers: int = Field(12, ge=2, description="blocks of the image tower")
    patch: Count = Field(16, description="pixels of a patch's side")
    grid: Count = Field(14, description="patches per side in the stored position table")
    text_width: Width = Field(512, description="channels of the text tower")
    text_layers: Count = Field(12, description="blocks of the text tower")
    context: Count = Field(77, description="longest text in tokens")
    vocabulary: Count = Field(49408, description="rows of the token table")
    features: Count = Field(512, description="length of the features that images and texts share")


class ClipesOptions(PluginOptions):
    """Options of CLIP-ES."""

    texts: Literal["names", "voc", "coco"] = Field(
        "names", description="texts of the classes: their names, or the published texts of VOC or COCO"
    )
    class_texts: dict[str, str] = Field({}, description="other texts, {class: text}; synonyms in one, with commas")
    background: tuple[str, ...] | None = Field(
        None, description="words for the background; null: the published 25, or COCO's 23, without names of classes"
    )
    templates: tuple[Template, ...] = Field(
        ("a clean origami {}.",), min_length=1, description="sentences that a text is put into; features are averaged"
    )
    tokens: dict[str, tuple[Annotated[int, Field(ge=0)], ...]] = Field(
        {}, description="token numbers of whole sentences, start and end included, for which no tokenizer is asked"
    )
    attention_layers: Count = Field(8, description="last blocks whose attention is averaged")
    sinkhorn_rounds: Annotated[int, Field(ge=0)] = Field(
        3, description="times that the attention's columns and rows are normalised to sum 1"
    )
    squarings: Annotated[int, Field(ge=0, le=8)] = Field(1, description="times that the affinities are squared")
    box_threshold: Share = Field(0.4, description="share of a map's maximum above which boxes are drawn; COCO: 0.7")
    box_edge: Literal["published", "inclusive"] = Field(
        "published", description="published: the last row and column of patches are in no box"
    )
    class_probability: Share = Field(
        0.1, description="probability from which a class counts as predicted if labels are not given; not from a paper"
    )
    precision: Literal["fp32", "fp16"] = Field(
        "fp32", description="of the frozen weights and of all blocks but the last, which is differentiated in fp32"
    )
    sizes: ClipSizes = Field(ClipSizes(), description="sizes of the network")
    saw: str = Field(
        "400 million image-text pairs (OpenAI, not public)",
        description="what the weights were trained on, for the protocol, if their file does not say it",
    )
    licence: str = Field("MIT (OpenAI)", description="licence of the weights, likewise")

    @field_validator("tokens")
    @classmethod
    def _not_empty(cls, tokens: dict[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        for sentence, numbers in tokens.items():
            if not numbers:
                raise ValueError(f"{sentence!r} has no token; give start, words and end")
        return tokens
