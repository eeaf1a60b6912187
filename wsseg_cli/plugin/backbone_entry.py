"""What an entry point of `wsseg.backbones` names: a network without classifier, described and built. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from ..errors import PluginError
from ..types import IMAGENET, NORMALIZATIONS, Normalization
from .protocols import Plugin, PluginOptions

if TYPE_CHECKING:
    from torch import nn


FEATURE_MAPS = ("conv3", "conv4", "conv5", "conv6")
"""Feature maps that a backbone has where its network does. Names carry ResNet-38's meaning; `conv6` is the last."""


class BackboneOptions(PluginOptions):
    """Options that every backbone takes."""

    normalization: Literal["imagenet", "caffe", "tensorflow"] | None = Field(
        None, description="how the pixels come in; null: as the backbone's published weights want them"
    )
    frozen: bool | str = Field(
        False,
        description="what does not learn: true (the usual part), false, whole, batch_norm, statistics, or a name of "
        "the backbone's own",
    )


class BackboneEntry(Plugin):
    """A backbone: what it has to offer, and how it is built.

    Attributes:
        model: what stands after the slash of a name such as "timm/resnet18"; "" where a name has none.
    """

    Options = BackboneOptions
    options: BackboneOptions
    family: ClassVar[bool] = False
    """True if the entry stands for many networks, `ENTRY/MODEL` by name."""
    pixels: ClassVar[Normalization] = IMAGENET
    """How the published weights want their pixels."""

    def __init__(self, options: BackboneOptions, model: str = "") -> None:
        super().__init__(options)
        self.model = model

    @property
    def feature_maps(self) -> Mapping[str, int]:
        """Return the stride of each feature map in image pixels, by its name; conv6 is the last one.

        A class with one network writes it as a literal, at its default options: then `wsseg backbones` need not
        import it.
        """
        return {}

    @property
    def parameters(self) -> int:
        """Return the number of weights, without a classifier; a literal likewise. 0: not said."""
        return 0

    @property
    def package(self) -> str:
        """Return the Python package that holds the published weights, "" for none; a literal likewise."""
        return ""

    @property
    def normalization(self) -> Normalization:
        """Return how the network wants its pixels."""
        chosen = self.options.normalization
        return self.pixels if chosen is None else NORMALIZATIONS[chosen]

    def build(self) -> nn.Module:
        """Return the network with random weights, a `wsseg_cli.nets.base.Backbone`.

        `wsseg_cli.nets.backbone` then sets its `normalization` and holds what the option `frozen` names.
        """
        raise PluginError(f"{type(self).__name__} builds no network")
