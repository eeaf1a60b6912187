"""What all backbones share: their attributes, and parts that never learn whatever `train()` is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

from torch import Tensor, nn

from ..errors import CheckpointError, RecipeError
from ..types import HubFile, Normalization

BatchNormRule = Literal["fixed", "affine_fixed", "statistics_fixed", "learn"]


class Freezing(NamedTuple):
    """Which parts of a backbone never learn.

    Attributes:
        layers: names of sub-modules whose parameters get no gradient and whose batch norms stay in eval mode.
        batch_norm: `fixed`: all batch norms use their stored statistics, scale and shift do not learn; `affine_fixed`:
            batch statistics in training, scale and shift do not learn; `statistics_fixed`: stored statistics, scale and
            shift learn; `learn`: nothing is held.
    """

    layers: tuple[str, ...] = ()
    batch_norm: BatchNormRule = "learn"


class Backbone(nn.Module):
    """Base of the backbones: forward returns {feature_map: feature map}.

    Attributes:
        feature_maps: channels of each feature map.
        stride: pixels of the image to one cell of `conv6`.
        normalization: how the network wants its pixels.
    """

    feature_maps: dict[str, int]
    stride: int
    normalization: Normalization

    def __init__(self) -> None:
        super().__init__()
        self._held: tuple[nn.Module, ...] = ()

    def hub_file(self) -> HubFile:
        """Return the file of pretrained weights that a hub holds for this backbone; nothing is fetched.

        Raises:
            CheckpointError: there is none.
        """
        raise CheckpointError(
            f"weights: hub: no hub holds weights of {type(self).__name__}; `wsseg weights list` shows those with a name"
        )

    def from_hub(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of `hub_file` under the names of this backbone; a classifier may stay among them."""
        return dict(tensors)

    def freeze(self, freezing: Freezing) -> None:
        """Hold what `freezing` names for good: no gradient, and eval mode through every later `train()`."""
        frozen = [self.get_submodule(name) for name in freezing.layers]
        for module in frozen:
            module.requires_grad_(False)
        norms = [module for module in self.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        if freezing.batch_norm in ("fixed", "affine_fixed"):
            for norm in norms:
                norm.requires_grad_(False)
        inside = {id(part) for module in frozen for part in module.modules()}
        everywhere = freezing.batch_norm in ("fixed", "statistics_fixed")
        # A tuple, not a list of sub-modules: these are registered already under their own names.
        self._held = tuple(norm for norm in norms if everywhere or id(norm) in inside)
        self.train(self.training)

    def train(self, mode: bool = True) -> Backbone:
        """Set training mode, except for the batch norms that `freeze` holds in eval mode."""
        super().train(mode)
        for norm in self._held:
            norm.training = False
        return self


def freezing_named(frozen: bool | str, forms: Mapping[str, Freezing], default: str) -> Freezing:
    """Return what the option `frozen` of a backbone means: a name in `forms`, True for `default`, False for none.

    Raises:
        RecipeError: `forms` has no such name.
    """
    name = frozen if isinstance(frozen, str) else default if frozen else "none"
    if name == "none":
        return Freezing()
    if name not in forms:
        raise RecipeError(
            f"unknown value {frozen!r} for a backbone's `frozen`; expected {', '.join(forms)}, none, true or false"
        )
    return forms[name]
