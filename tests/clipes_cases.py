"""The `clipes_*` golden cases: the method with a case's sizes and checkpoint, and what a case keeps of an output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from golden_cases import Case, GivenParts, noted
from torch import Tensor, nn
from wsseg_clip.method import CLIPES
from wsseg_clip.network import ClipNet
from wsseg_clip.options import ClipesOptions, ClipSizes
from wsseg_clip.texts import without_tokens

from wsseg_cli.engine.checkpoint import load_strictly
from wsseg_cli.nets.clip_names import openai_names
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import ClassNames, ScoreMap

SIZES = {
    "embed_dim": "features",
    "vision_layers": "layers",
    "vision_width": "width",
    "patch": "patch",
    "context_length": "context",
    "vocab": "vocabulary",
    "text_width": "text_width",
    "text_layers": "text_layers",
}
"""What the cases call the sizes of a CLIP, and what we do."""

SMALL: dict[str, Any] = {
    **{"width": 64, "layers": 2, "grid": 2, "features": 4},
    **{"text_width": 64, "text_layers": 1, "context": 8, "vocabulary": 8},
}
"""Sizes for the cases that bring no checkpoint."""

FILLER = "filler"
"""A word for the background as long as CLIP reads, so that no other text is cut behind its end."""


class Given(GivenParts, CLIPES):
    """The method with parts that are given; what `scores` makes of the others on its way is kept in `kept`."""

    def pixels(self, image: Any, scale: float = 1.0) -> Tensor:
        return self._part("pixels", image, scale)

    def seen(self, model: ClipNet, image: Any, scale: float) -> Any:
        return self._part("seen", model, image, scale)

    def class_maps(self, model: ClipNet, seen: Any, labels: Sequence[int]) -> Any:
        return self._part("class_maps", model, seen, labels)

    def refined(self, maps: Tensor, attention: Sequence[Tensor]) -> Tensor:
        self.kept |= {"maps": noted(maps), "attention": list(attention)}
        return self._part("refined", maps, attention)

    def boxes(self, maps: Tensor) -> Tensor:
        return self._part("boxes", maps)


def clipes(case: Case, classes: Sequence[str], **options: Any) -> Given:
    """Return the method with the sizes of the case's network and the published values beside."""
    said = case.arguments.get("model")
    if said:
        grid = said["image_resolution"] // said["patch"]
        options["sizes"] = ClipSizes(grid=grid, **{ours: said[theirs] for theirs, ours in SIZES.items()})
    return Given(ClipesOptions(**options), ClassNames(classes))


def numbered(count: int) -> list[str]:
    """Return names for classes of which a case says nothing."""
    return [f"class {number}" for number in range(count)]


def filler(templates: Sequence[str], sizes: ClipSizes) -> dict[str, Any]:
    """Return the options that bring the long word; its token numbers are given, so that no tokenizer is asked."""
    start, end = sizes.vocabulary - 2, sizes.vocabulary - 1
    numbers = (start, *[1] * (sizes.context - 2), end)
    return {"background": (FILLER,), "tokens": {template.replace("{}", FILLER): numbers for template in templates}}


def network(case: Case, method: CLIPES) -> ClipNet:
    """Return the method's network with the case's checkpoint, brought in through the public name map."""
    model = method.build_model().eval()
    load_strictly(model.backbone, openai_names(case.state_dict()), case.name)
    return model


def small_network(method: CLIPES) -> ClipNet:
    """Return a network of random weights whose texts are random, too."""
    torch.manual_seed(0)
    model = method.build_model().eval()
    model.texts.normal_()
    return model


def scored(method: Given, model: ClipNet, labels: Sequence[int], size: Sequence[int] = ()) -> ScoreMap:
    """Return what the stage `cam` stores for an image that the case does not bring, only what is made of it.

    size: (H, W) of the image; by default that of the given pixels.
    """
    height, width = size or method.given["pixels"].shape[1:]
    return method.scores(model, np.zeros((height, width, 3), np.uint8), tuple(labels), InferSettings())


def cut(case: Case, name: str, got: Any) -> Any:
    """Return what the case keeps of an output."""
    rule = case.arguments.get("slices", {}).get(name, {})
    if "positions" in rule:
        got = got[:, : rule["positions"]]
    if "axis0_step" in rule:
        got = got[:: rule["axis0_step"]]
    if "step" in rule:
        rows, columns = rule["step"]
        got = got[..., ::rows, ::columns]
    return got


def check_all(case: Case, got: dict[str, Any]) -> None:
    case.check_all({name: cut(case, name, value) for name, value in got.items()})


@contextmanager
def watched(*modules: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what modules are given, in the order of their calls."""
    given: list[Tensor] = []
    hooks = [m.register_forward_pre_hook(lambda _, args: given.append(noted(args[0].detach()))) for m in modules]
    yield given
    for hook in hooks:
        hook.remove()


def needs_a_tokenizer(options: ClipesOptions, wanted: list[str]) -> None:
    if without_tokens(options, wanted):
        pytest.importorskip("open_clip", reason="its tokenizer comes with wsseg[clip]")
