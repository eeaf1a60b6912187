"""Names of CLIP's tensors: those of transformers and timm, and OpenAI's, which open_clip and we also use."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

_OPENAI: tuple[tuple[str, str | None], ...] = (
    (r"input_resolution$|context_length$|vocab_size$", None),
    (r"visual\.positional_embedding_new$", None),  # what CLIP-ES computes for one image
)
_BLOCK: tuple[tuple[str, str | None], ...] = (
    (r"(.*\.)layer_norm([12])\.", r"\1ln_\2."),
    (r"(.*\.)self_attn\.out_proj\.", r"\1attn.out_proj."),
    (r"(.*\.)mlp\.fc1\.", r"\1mlp.c_fc."),
    (r"(.*\.)mlp\.fc2\.", r"\1mlp.c_proj."),
)
_TRANSFORMERS: tuple[tuple[str, str | None], ...] = (
    (r".*\.position_ids$", None),
    (r"vision_model\.embeddings\.class_embedding$", "visual.class_embedding"),
    (r"vision_model\.embeddings\.patch_embedding\.", "visual.conv1."),
    (r"vision_model\.embeddings\.position_embedding\.weight$", "visual.positional_embedding"),
    (r"vision_model\.pre_layrnorm\.", "visual.ln_pre."),
    (r"vision_model\.post_layernorm\.", "visual.ln_post."),
    (r"vision_model\.encoder\.layers\.", "visual.transformer.resblocks."),
    (r"visual_projection\.weight$", "visual.proj"),
    (r"text_model\.embeddings\.token_embedding\.", "token_embedding."),
    (r"text_model\.embeddings\.position_embedding\.weight$", "positional_embedding"),
    (r"text_model\.final_layer_norm\.", "ln_final."),
    (r"text_model\.encoder\.layers\.", "transformer.resblocks."),
    (r"text_projection\.weight$", "text_projection"),
)
_TIMM: tuple[tuple[str, str | None], ...] = (
    (r"head\.bias$", None),  # CLIP has none; timm's is zero
    (r"cls_token$", "visual.class_embedding"),
    (r"pos_embed$", "visual.positional_embedding"),
    (r"patch_embed\.proj\.", "visual.conv1."),
    (r"norm_pre\.", "visual.ln_pre."),
    (r"norm\.", "visual.ln_post."),
    (r"head\.weight$", "visual.proj"),
    (r"blocks\.(\d+)\.norm([12])\.", r"visual.transformer.resblocks.\1.ln_\2."),
    (r"blocks\.(\d+)\.attn\.qkv\.(weight|bias)$", r"visual.transformer.resblocks.\1.attn.in_proj_\2"),
    (r"blocks\.(\d+)\.attn\.proj\.", r"visual.transformer.resblocks.\1.attn.out_proj."),
    (r"blocks\.(\d+)\.mlp\.fc1\.", r"visual.transformer.resblocks.\1.mlp.c_fc."),
    (r"blocks\.(\d+)\.mlp\.fc2\.", r"visual.transformer.resblocks.\1.mlp.c_proj."),
)
_TRANSPOSED = ("visual_projection.weight", "text_projection.weight", "head.weight")
_QUERY = re.compile(r"(.*\.self_attn\.)q_proj(\.\w+)$")


def openai_names(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a CLIP model under the names and in the shapes of OpenAI's file, whatever their source.

    Known are the names of OpenAI and open_clip, those of transformers, and those of timm, which only has the image
    tower. Sizes and buffers that are not weights are dropped; unknown names are kept.
    """
    tensors = {name.removeprefix("module."): tensor for name, tensor in tensors.items()}
    if any(name.startswith(("vision_model.", "text_model.")) for name in tensors):
        return _renamed(_renamed(_joined(_turned(tensors)), _BLOCK), _TRANSFORMERS)
    if "cls_token" in tensors:
        return _renamed(_turned(tensors), _TIMM)
    return _renamed(tensors, _OPENAI)


def _turned(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors in OpenAI's shapes: projections transposed, tokens and positions without a batch."""
    shaped = dict(tensors)
    for name in _TRANSPOSED:
        if name in shaped and shaped[name].ndim == 2:
            shaped[name] = shaped[name].T
    if "cls_token" in shaped:
        shaped["cls_token"] = shaped["cls_token"].flatten()
    if "pos_embed" in shaped and shaped["pos_embed"].ndim == 3:
        shaped["pos_embed"] = shaped["pos_embed"].flatten(0, 1)
    return shaped


def _joined(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors of transformers with query, key and value joined, as in OpenAI's attention."""
    joined = dict(tensors)
    for name in tensors:
        found = _QUERY.match(name)
        parts = [f"{found[1]}{letter}_proj{found[2]}" for letter in "qkv"] if found else []
        if found and len({tensors[part].shape if part in tensors else None for part in parts}) == 1:
            inside = found[1].replace("self_attn", "attn")
            joined[f"{inside}in_proj_{found[2][1:]}"] = torch.cat([joined.pop(part) for part in parts])
    return joined


def _renamed(tensors: Mapping[str, Tensor], rules: Iterable[tuple[str, str | None]]) -> dict[str, Tensor]:
    """Return the tensors under new names by the first rule that matches the start of a name; None drops one."""
    named: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        found, new = next(((re.match(p, name), new) for p, new in rules if re.match(p, name)), (None, name))
        if new is not None:
            named[found.expand(new) + name[found.end() :] if found else new] = tensor
    return named
