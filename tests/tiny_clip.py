"""A CLIP of random weights, small enough for tests, and recipes that need no tokenizer for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from wsseg_clip.method import CLIPES
from wsseg_clip.network import Clip, ClipNet
from wsseg_clip.options import ClipesOptions, ClipSizes

from wsseg_cli.engine import checkpoint
from wsseg_cli.engine.frozen import computed
from wsseg_cli.plugin import ClassNames, InferSettings

SIZES: dict[str, Any] = {
    "width": 64,
    "layers": 3,
    "grid": 4,
    "text_width": 64,
    "text_layers": 2,
    "features": 32,
}
"""Sizes with CLIP's own vocabulary, for the published token numbers."""

FEW_WORDS: dict[str, Any] = SIZES | {"vocabulary": 64, "context": 12}
"""Sizes with so small a vocabulary that the file is small, too."""


CLASSES = ClassNames(["cat", "dog", "cow", "bus", "car", "bird"])
PHOTO = np.random.default_rng(0).integers(0, 256, (70, 93, 3), dtype=np.uint8)
ONE_VIEW = InferSettings()


def tensors(sizes: Mapping[str, Any] = FEW_WORDS, seed: int = 0) -> dict[str, Tensor]:
    """Return random weights under OpenAI's names; texts are told apart as sharply as by a trained CLIP."""
    torch.manual_seed(seed)
    clip = Clip(ClipSizes(**sizes))
    clip.logit_scale.data.fill_(4.0)
    clip.token_embedding.weight.data.normal_(std=0.5)
    return {name: tensor.detach().clone() for name, tensor in clip.state_dict().items()}


def write(path: Path, sizes: Mapping[str, Any] = FEW_WORDS, seed: int = 0) -> Path:
    """Write such weights as open_clip does, without a word about them."""
    save_file(tensors(sizes, seed), path)
    return path


def options(classes: Sequence[str], background: Sequence[str] = ("ground", "sky"), **more: Any) -> dict[str, Any]:
    """Return options of clipes for the few words: each text has a token of its own."""
    texts = [*classes, *background]
    tokens = {f"a {text}.": [61, 1, 2 + number, 62] for number, text in enumerate(texts)}
    return {"sizes": FEW_WORDS, "templates": ["a {}."], "background": list(background), "tokens": tokens} | more


def clipes(classes: ClassNames = CLASSES, **more: Any) -> CLIPES:
    """Return the method for the few words."""
    return CLIPES(ClipesOptions.model_validate_json(json.dumps(options(list(classes), **more))), classes)


def network(method: CLIPES, seed: int = 0) -> ClipNet:
    """Return the method's network with such weights and the features of its texts."""
    model = method.build_model().eval()
    checkpoint.load_strictly(model.backbone, tensors(seed=seed), "the tiny CLIP")
    computed(method, model)
    return model
