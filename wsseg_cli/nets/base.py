"""What all backbones share: their attributes, and parts that never learn whatever `train()` is called."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field, field_validator
from torch import Tensor, nn

from ..errors import CheckpointError, near
from ..settings import Settings
from ..types import HubFile, Normalization
from . import NORMALIZATIONS

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


class BackboneOptions(Settings):
    """Base of every backbone's options, what `backbone_options` of a recipe is checked against.

    A backbone's module subclasses it as `Options`. `forms` are the words that `frozen` takes beside true, false and
    none, and what each of them holds; `frozen_by_default` is the word that true stands for.
    """

    forms: ClassVar[Mapping[str, Freezing]] = {}
    frozen_by_default: ClassVar[str] = ""

    frozen: bool | str = Field(False, description="what never learns, by name; false: everything learns")
    normalization: str = Field("imagenet", description="how the pixels come in: imagenet, caffe or tensorflow")

    @field_validator("frozen")
    @classmethod
    def _freezes(cls, value: bool | str) -> bool | str:
        if isinstance(value, str) and value != "none":
            _one_of("frozen", value, cls.forms, "none, true or false")
        return value

    @field_validator("normalization")
    @classmethod
    def _normalizes(cls, value: str) -> str:
        _one_of("normalization", value, NORMALIZATIONS)
        return value

    @property
    def freezing(self) -> Freezing:
        """What `frozen` means."""
        name = self.frozen if isinstance(self.frozen, str) else self.frozen_by_default if self.frozen else "none"
        return Freezing() if name == "none" else self.forms[name]


def _one_of(option: str, value: str, known: Mapping[str, object], more: str = "") -> None:
    if value not in known:
        expected = ", ".join([*known, *([more] if more else [])])
        raise ValueError(f"unknown {option} {value!r}; expected one of {expected}{near(value, known)}")


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
