"""Dilated depthwise convolution whose input gradient is fast on a CPU."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def dilated_depthwise(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    """Return the (N, C, h, w) "same" convolution of each channel with its own kernel, at stride 1 and without bias.

    Args:
        x: (N, C, h, w) features.
        weight: (C, 1, k, k), k odd.
        dilation: cells from one weight of a kernel to the next.
    """
    if torch.is_grad_enabled() and x.requires_grad and x.device.type == "cpu":
        if torch.is_autocast_enabled("cpu"):  # it casts the convolution inside, but not that of the backward pass
            x, weight = (tensor.to(torch.get_autocast_dtype("cpu")) for tensor in (x, weight))
        return cast(Tensor, _DilatedDepthwise.apply(x, weight, dilation))
    return _same(x, weight, dilation)


def _same(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    return F.conv2d(x, weight, None, 1, _reach(weight, dilation), dilation, len(weight))


def _reach(weight: Tensor, dilation: int) -> int:
    return (weight.shape[-1] - 1) // 2 * dilation


class _DilatedDepthwise(torch.autograd.Function):
    """The input gradient of a symmetric convolution is the convolution with the kernel turned by 180 degrees.

    PyTorch's CPU library has a fast dilated depthwise convolution, but only a slow reference for its input gradient.
    """

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, weight: Tensor, dilation: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.dilation = dilation  # type: ignore[attr-defined]
        return _same(x, weight, dilation)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, gradient: Tensor) -> tuple[Tensor, Tensor | None, None]:
        x, weight = ctx.saved_tensors  # type: ignore[attr-defined]
        dilation: int = ctx.dilation  # type: ignore[attr-defined]
        of_weight = None
        if ctx.needs_input_grad[1]:  # type: ignore[attr-defined]
            reach = _reach(weight, dilation)
            _, of_weight, _ = torch.ops.aten.convolution_backward(
                gradient, x, weight, None, [1, 1], [reach] * 2, [dilation] * 2, False, [0, 0], len(weight),
                [False, True, False],
            )  # fmt: skip
        return _same(gradient, weight.flip(-1, -2), dilation), of_weight, None
