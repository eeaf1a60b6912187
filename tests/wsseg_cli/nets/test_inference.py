"""Networks rearranged for inference: the same numbers, no batch norm after a convolution; what must not be folded."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from wsseg_cli.nets import deeplab
from wsseg_cli.nets.inference import fold_batch_norms, for_inference

PRE_ACTIVATION = 16 + 1  # of ResNet-38: a sum stands before the batch norm of each block but one, and before the last
NETWORKS: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "small": ("v2_small", "small", {}, 0),
    "v3+": ("v3plus", "small", {}, 0),
    "v2 of PPC": ("v2_aspp_bn", "small", {}, 0),
    "efficientnet": ("v2_small", "efficientnet_lite0", {}, 0),
    "resnet38": ("v1", "resnet38", {"width": 4}, PRE_ACTIVATION),
    "resnet50": ("v3plus", "resnet50", {}, 0),
    "vgg16": ("v1_vgg16", "vgg16", {"width": 4}, 0),
    "group norm": ("v3plus_puzzlecam", "small", {}, 0),
}


def lively(network: nn.Module) -> nn.Module:
    """Return the network in eval mode, its batch norms changing what they get."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.7, 1.4)
            if module.affine:
                nn.init.uniform_(module.weight, 0.8, 1.2)
                nn.init.uniform_(module.bias, -0.2, 0.2)
    return network.eval()


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("name", NETWORKS)
@torch.inference_mode()
def test_same_numbers_without_batch_norms(name: str) -> None:
    form, backbone, options, left = NETWORKS[name]
    torch.manual_seed(0)
    network = lively(deeplab.build(form, 4, backbone, **options))
    images = torch.randn(2, 3, 65, 78)
    want = network(images)
    fast = for_inference(copy.deepcopy(network))
    assert norms(fast) == left
    got = fast(images)
    scale = float(want.abs().max())
    torch.testing.assert_close(got, want, rtol=0, atol=2e-5 * scale)
    assert (got.argmax(1) == want.argmax(1)).float().mean() > 0.999


class Awkward(nn.Module):
    """Batch norms before a convolution, on what others read too, on what is called twice, on a sum; one that fits."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.twice, self.shared, self.fits = (nn.Conv2d(3, 3, 1) for _ in range(4))
        self.before, self.read, self.again, self.summed, self.good = (nn.BatchNorm2d(3) for _ in range(5))

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(self.before(x))
        y = y + self.read(y)
        y = self.again(self.twice(y)) + self.twice(y)
        z = self.shared(y)
        return self.good(self.fits(self.summed(z + y)))


@torch.inference_mode()
def test_what_cannot_be_folded_stays() -> None:
    network = lively(Awkward())
    x = torch.randn(2, 3, 5, 5)
    want = network(x)
    fold_batch_norms(network)
    assert [name for name, part in network.named_children() if isinstance(part, nn.Identity)] == ["good"]
    torch.testing.assert_close(network(x), want)


def test_batch_statistics_are_not_folded() -> None:
    network = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)).train()
    fold_batch_norms(network)
    assert norms(network) == 1
