"""What an entry point of `wsseg.backbones` names: a network without classifier, described and built. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Generic, Literal, NamedTuple, TypeVar

from pydantic import Field, field_validator

from ..errors import PluginError, near
from ..types import IMAGENET, NORMALIZATIONS, Normalization
from .protocols import Plugin, PluginOptions

if TYPE_CHECKING:
    from .backbone import Backbone

FEATURE_MAPS = ("conv3", "conv4", "conv5", "conv6")
"""Feature maps that a backbone has if its network does. Names have ResNet-38's meaning; `conv6` is the last."""

BatchNormRule = Literal["fixed", "affine_fixed", "statistics_fixed", "learn"]


class Freezing(NamedTuple):
    """Which parts of a backbone never learn.

    Attributes:
        layers: names of sub-modules whose parameters get no gradient and whose batch norms stay in eval mode, and of
            parameters outside the sub-modules; "" is the whole backbone.
        batch_norm: `fixed`: all batch norms use their stored statistics, scale and shift do not learn; `affine_fixed`:
            batch statistics in training, scale and shift do not learn; `statistics_fixed`: stored statistics, scale and
            shift learn; `learn`: nothing is frozen.
    """

    layers: tuple[str, ...] = ()
    batch_norm: BatchNormRule = "learn"


FREEZING_PRESETS: dict[str, Freezing] = {
    "whole": Freezing(("",), "fixed"),
    "batch_norm": Freezing((), "fixed"),
    "statistics": Freezing((), "statistics_fixed"),
}
"""What every backbone can freeze: everything, all batch norms, or their statistics alone."""


class BackboneOptions(PluginOptions):
    """Base of every backbone's options, against which `backbone_options` of a recipe is checked.

    `freezing_presets` maps the values that `frozen` takes besides true, false and none to what each of them freezes;
    `frozen_by_default` is the value that true stands for.
    """

    freezing_presets: ClassVar[Mapping[str, Freezing]] = FREEZING_PRESETS
    frozen_by_default: ClassVar[str] = "whole"

    frozen: bool | str = Field(
        False, description="what never learns: whole, batch_norm, statistics; false: everything learns"
    )
    normalization: Literal["imagenet", "caffe", "tensorflow"] | None = Field(
        None, description="how the pixels come in; null: as the backbone's published weights expect them"
    )

    @field_validator("frozen")
    @classmethod
    def _freezes(cls, value: bool | str) -> bool | str:
        if isinstance(value, str) and value != "none" and value not in cls.freezing_presets:
            expected = ", ".join([*cls.freezing_presets, "none, true or false"])
            raise ValueError(f"unknown frozen {value!r}; expected one of {expected}{near(value, cls.freezing_presets)}")
        return value

    @property
    def frozen_preset(self) -> str:
        """The preset that `frozen` means, a key of `freezing_presets` or "none"."""
        return self.frozen if isinstance(self.frozen, str) else self.frozen_by_default if self.frozen else "none"


BackboneOptionsT = TypeVar("BackboneOptionsT", bound=BackboneOptions)


class BackboneEntry(Plugin[BackboneOptionsT], Generic[BackboneOptionsT]):
    """A backbone: what it has to offer, and how it is built.

    Attributes:
        model: the part after the slash of a name such as "timm/resnet18"; "" if a name has none.
    """

    Options = BackboneOptions
    family: ClassVar[bool] = False
    """True if the entry stands for many networks, `ENTRY/MODEL` by name."""
    pixels: ClassVar[Normalization] = IMAGENET
    """How the published weights expect their pixels."""

    def __init__(self, options: BackboneOptionsT, model: str = "") -> None:
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
        """Return the number of weights, without a classifier; likewise a literal. 0: unknown."""
        return 0

    @property
    def package(self) -> str:
        """Return the Python package that holds the published weights, "" for none; likewise a literal."""
        return ""

    @property
    def normalization(self) -> Normalization:
        """Return how the network expects its pixels."""
        chosen = self.options.normalization
        return self.pixels if chosen is None else NORMALIZATIONS[chosen]

    def build(self) -> Backbone:
        """Return the network with random weights.

        `wsseg_cli.nets.backbone` then sets its `normalization` and freezes what the option `frozen` names.
        """
        raise PluginError(f"{type(self).__name__} does not implement `build`")
