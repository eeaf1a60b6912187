"""Networks on PyTorch's meta device, without memory: what can be known about them before anything is trained."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import WssegError
from ..settings import TrainSettings

if TYPE_CHECKING:
    from torch import nn

_ANY_SIDE = 256
"""Pixels of an image's side if the recipe does not say."""


def without_numbers(build: Callable[[], nn.Module]) -> nn.Module | None:
    """Return a network on the meta device; None if it cannot be built there."""
    import torch
    from torch.overrides import TorchFunctionMode

    class Undrawn(TorchFunctionMode):
        # on the meta device the first normal draw alone takes a second, for it imports torch's compiler
        def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return args[0] if function is torch.Tensor.normal_ else function(*args, **(kwargs or {}))

    try:
        with torch.device("meta"), Undrawn():
            return build()
    except WssegError:
        raise
    except Exception:  # a third-party network may compute with numbers as it is built; its stage will say so
        return None


def learns_from_one(network: nn.Module, settings: TrainSettings) -> bool:
    """Return whether the network accepts a batch of one image in training; batch norms over a single cell do not."""
    import torch

    side = settings.augment.crop or _ANY_SIDE
    try:
        network.train()(torch.empty(1, 3, side, side, device="meta"))
    except ValueError as error:
        return "more than 1 value per channel" not in str(error)
    except Exception:  # a forward pass that depends on its numbers cannot be followed without them
        return True
    return True
