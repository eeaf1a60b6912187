"""A training step of EfficientNet-lite0 at stride 16 beside one with PyTorch's own dilated depthwise convolution.

    OMP_NUM_THREADS=1 python benchmarks/dilated_depthwise.py

Eight images of 256 x 256, conv6 learns, as in the `*_voc_lite` recipes; the ways alternate in one run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from statistics import median

import torch
import torch.nn.functional as F
from torch import Tensor

from wsseg_cli.nets import efficientnet_lite
from wsseg_cli.nets.depthwise import dilated_depthwise


def pytorch(x: Tensor, weight: Tensor, dilation: int) -> Tensor:
    return F.conv2d(x, weight, None, 1, (weight.shape[-1] - 1) // 2 * dilation, dilation, len(weight))


def seconds_of_step(network: torch.nn.Module, images: Tensor, way: Callable[[Tensor, Tensor, int], Tensor]) -> float:
    efficientnet_lite.dilated_depthwise = way  # type: ignore[assignment]
    begun = time.process_time()
    network(images)["conv6"].mean().backward()
    return time.process_time() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7)
    arguments = parser.parse_args()
    options = efficientnet_lite.EfficientNetLiteOptions(output_stride=16)
    network = efficientnet_lite.EfficientNetLite("efficientnet_lite0", options).train()
    frozen = tuple(f"{part}." for part in network.freezings["conv5"].layers)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    images = torch.randn(8, 3, 256, 256)
    ways = {"PyTorch": pytorch, "ours": dilated_depthwise}
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(arguments.runs + 1):
        for name, way in ways.items():
            seconds[name].append(seconds_of_step(network, images, way))
    for name, taken in seconds.items():
        print(f"{name}: {median(taken[1:]):.2f} s a step")
    print(f"ratio {median(seconds['PyTorch'][1:]) / median(seconds['ours'][1:]):.2f}")


if __name__ == "__main__":
    main()
