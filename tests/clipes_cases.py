"""The `clipes_*` golden cases: the method with a case's sizes and checkpoint, and what a case keeps of an output."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from golden_cases import Case
from torch import Tensor, nn
from wsseg_clip.method import CLIPES
from wsseg_clip.network import ClipNet
from wsseg_clip.options import ClipesOptions, ClipSizes
from wsseg_clip.texts import without_tokens

from wsseg_cli.engine.checkpoint import load_strictly
from wsseg_cli.nets.clip_names import openai_names
from wsseg_cli.types import ClassNames

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


def clipes(case: Case, classes: list[str], **options: Any) -> CLIPES:
    """Return the method with the sizes of the case's network and the published values beside."""
    said = case.arguments.get("model")
    if said:
        grid = said["image_resolution"] // said["patch"]
        options["sizes"] = ClipSizes(grid=grid, **{ours: said[theirs] for theirs, ours in SIZES.items()})
    return CLIPES(ClipesOptions(**options), ClassNames(classes))


def network(case: Case, method: CLIPES) -> ClipNet:
    """Return the method's network with the case's checkpoint, brought in through the public name map."""
    model = method.build_model().eval()
    load_strictly(model.backbone, openai_names(case.state_dict()), case.name)
    return model


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
    hooks = [m.register_forward_pre_hook(lambda _, args: given.append(args[0].detach())) for m in modules]
    yield given
    for hook in hooks:
        hook.remove()


def needs_a_tokenizer(options: ClipesOptions, wanted: list[str]) -> None:
    if without_tokens(options, wanted):
        pytest.importorskip("open_clip", reason="its tokenizer comes with wsseg[clip]")
