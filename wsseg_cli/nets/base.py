"""What all backbones share: their attributes, and parts that never learn whatever `train()` is called."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from torch import Tensor, nn

from ..errors import RecipeError
from ..types import IMAGENET, Normalization

BatchNormRule = Literal["fixed", "affine_fixed", "statistics_fixed", "learn"]


class Freezing(NamedTuple):
    """Which parts of a backbone never learn.

    Attributes:
        layers: names of sub-modules whose parameters get no gradient and whose batch norms stay in eval mode, and of
            parameters that stand beside the sub-modules.
        batch_norm: `fixed`: all batch norms use their stored statistics, scale and shift do not learn; `affine_fixed`:
            batch statistics in training, scale and shift do not learn; `statistics_fixed`: stored statistics, scale and
            shift learn; `learn`: nothing is held.
    """

    layers: tuple[str, ...] = ()
    batch_norm: BatchNormRule = "learn"


class Backbone(nn.Module):
    """Base of the backbones: forward takes normalised images (N, 3, H, W) and returns {name: feature map}.

    Attributes:
        feature_maps: channels of each feature map.
        stride: pixels of the image to one cell of `conv6`.
        normalization: how the network wants its pixels.
        freezings: what the option `frozen` may name beside `whole`, `batch_norm` and `statistics`.
        usually_frozen: what `frozen: true` means.
    """

    feature_maps: dict[str, int]
    stride: int
    normalization: Normalization = IMAGENET
    freezings: Mapping[str, Freezing] = {}
    usually_frozen: ClassVar[str] = "whole"

    def __init__(self) -> None:
        super().__init__()
        self._held: tuple[nn.Module, ...] = ()

    def freeze(self, freezing: Freezing) -> None:
        """Hold what `freezing` names for good: no gradient, and eval mode through every later `train()`."""
        loose = dict(self.named_parameters())
        frozen = [self.get_submodule(name) for name in freezing.layers if name not in loose]
        for module in frozen:
            module.requires_grad_(False)
        for name in freezing.layers:
            if name in loose:
                loose[name].requires_grad_(False)
        norms = [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        if freezing.batch_norm in ("fixed", "affine_fixed"):
            for norm in norms:
                norm.requires_grad_(False)
        inside = {id(part) for module in frozen for part in module.modules()}
        everywhere = freezing.batch_norm in ("fixed", "statistics_fixed")
        # A tuple, not a list of sub-modules: these are registered already under their own names.
        self._held = tuple(norm for norm in norms if everywhere or id(norm) in inside)
        self.train(self.training)

    def hold(self, frozen: bool | str) -> None:
        """Freeze what the option `frozen` of a recipe means.

        Raises:
            RecipeError: nothing of that name can be frozen here.
        """
        everything = (*dict(self.named_children()), *dict(self.named_parameters(recurse=False)))
        known = {
            "none": Freezing(),
            "whole": Freezing(everything, "fixed"),
            "batch_norm": Freezing((), "fixed"),
            "statistics": Freezing((), "statistics_fixed"),
            **self.freezings,
        }
        name = frozen if isinstance(frozen, str) else self.usually_frozen if frozen else "none"
        if name not in known:
            raise RecipeError(
                f"unknown value {frozen!r} for a backbone's `frozen`; expected {', '.join(known)}, true or false"
            )
        self.freeze(known[name])

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode, except for the batch norms that `freeze` holds in eval mode."""
        super().train(mode)
        for norm in self._held:
            norm.training = False
        return self


@dataclass(frozen=True)
class Tokens:
    """What a transformer computes inside, layer by layer; T = prefix + h * w tokens, the class token first.

    Attributes:
        layers: (N, T, D) output of each block, not normalised.
        final: (N, T, D) output of the last block after the network's final normalisation.
        attention: (N, heads, T, T) of each block, rows are queries and add up to 1; () if it was not asked for.
        prefix: number of tokens before the image's patches: class token, registers.
        grid: (h, w), patches in rows and columns, in row-major order.
    """

    layers: tuple[Tensor, ...]
    final: Tensor
    attention: tuple[Tensor, ...]
    prefix: int
    grid: tuple[int, int]


class TokenBackbone(Backbone):
    """A backbone whose feature maps are the tokens of a plain transformer."""

    def tokens(self, images: Tensor, attention: bool = False) -> Tokens:
        """Return the tokens of every layer and, if asked for, the attention; images: (N, 3, H, W), normalised."""
        raise NotImplementedError
