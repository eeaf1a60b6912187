"""The dilated depthwise convolution is PyTorch's, forward and backward."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from wsseg_cli.nets.depthwise import dilated_depthwise
from wsseg_cli.nets.efficientnet_lite import EfficientNetLite, EfficientNetLiteOptions


@pytest.mark.parametrize("dilation", [1, 2, 4])
@pytest.mark.parametrize("kernel", [3, 5])
@pytest.mark.parametrize("size", [(7, 9), (16, 16), (3, 2)])
def test_values_and_gradients_are_those_of_pytorch(dilation: int, kernel: int, size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, *size, generator=generator, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(6, 1, kernel, kernel, generator=generator, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(2, 6, *size, generator=generator, dtype=torch.float64)
    plain = F.conv2d(x, weight, None, 1, (kernel - 1) // 2 * dilation, dilation, 6)
    expected = torch.autograd.grad(plain, (x, weight), upstream)
    ours = dilated_depthwise(x, weight, dilation)
    torch.testing.assert_close(ours, plain)
    for found, wanted in zip(torch.autograd.grad(ours, (x, weight), upstream), expected, strict=True):
        torch.testing.assert_close(found, wanted)


def test_autocast_reaches_the_backward_pass_too() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, 6, 9, 7, generator=generator, requires_grad=True)
    weight = torch.randn(6, 1, 3, 3, generator=generator, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        plain, ours = F.conv2d(x, weight, None, 1, 2, 2, 6), dilated_depthwise(x, weight, 2)
    assert ours.dtype == torch.bfloat16
    torch.testing.assert_close(ours, plain)
    upstream = torch.ones_like(plain)
    expected = torch.autograd.grad(plain, (x, weight), upstream)
    for found, wanted in zip(torch.autograd.grad(ours, (x, weight), upstream), expected, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, wanted, rtol=2**-7, atol=2**-7)


def test_a_frozen_kernel_gets_no_gradient() -> None:
    x = torch.randn(1, 4, 5, 5, requires_grad=True)
    weight = torch.randn(4, 1, 3, 3)
    dilated_depthwise(x, weight, 2).sum().backward()
    assert x.grad is not None and weight.grad is None


def test_the_backbone_takes_it_where_strides_became_dilation() -> None:
    net = EfficientNetLite("efficientnet_lite0", EfficientNetLiteOptions(output_stride=16)).eval()
    features = net(torch.randn(1, 3, 64, 64))["conv6"]
    functions, seen = [features.grad_fn], set()
    while functions:
        function = functions.pop()
        if function is not None and function not in seen:
            seen.add(function)
            functions += [parent for parent, _ in function.next_functions]
    assert sum("DilatedDepthwise" in function.name() for function in seen) == 4
