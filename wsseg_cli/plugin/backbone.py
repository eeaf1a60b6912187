"""What a backbone is: a network that gives feature maps and may be partly frozen; and a transformer's tokens."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from ..errors import CheckpointError
from ..types import IMAGENET, HubFile, Normalization
from .backbone_entry import Freezing


class Backbone(nn.Module):
    """Base of the backbones: forward takes normalised images (N, 3, H, W) and returns {name: feature map}.

    Attributes:
        feature_maps: channels of each feature map.
        stride: pixels of the image per cell of `conv6`.
        normalization: how the network expects its pixels.
        freezings: what the option `frozen` freezes, for those of its values where this depends on the network.
    """

    feature_maps: dict[str, int]
    stride: int
    normalization: Normalization = IMAGENET
    freezings: Mapping[str, Freezing] = {}

    def __init__(self) -> None:
        super().__init__()
        self._held: tuple[nn.Module, ...] = ()

    def hub_file(self) -> HubFile:
        """Return the file of pretrained weights that a hub holds for this backbone; nothing is fetched.

        Raises:
            CheckpointError: no hub holds one.
        """
        raise CheckpointError(
            f"weights: hub: no hub has weights for {type(self).__name__}; `wsseg weights list` shows those with a name"
        )

    def from_hub(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors of `hub_file` under the names of this backbone; a classifier may be among them.

        A path may also name such a file: this is then called if its names are not the backbone's own.
        """
        return dict(tensors)

    def freeze(self, freezing: Freezing) -> None:
        """Freeze the parts that `freezing` names for good: no gradient, and eval mode through every later `train()`."""
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


class TokenBackbone(Backbone, ABC):
    """A backbone whose feature maps are the tokens of a plain transformer."""

    @abstractmethod
    def tokens(self, images: Tensor, attention: bool = False) -> Tokens:
        """Return the tokens of every layer and, if asked for, the attention; images: (N, 3, H, W), normalised."""
