"""SEAM's losses and their gradients where images have two of twenty classes, beside all: what absent classes cost.

    python benchmarks/seam_losses.py                    # a batch of 8 at 256 pixels
    python benchmarks/seam_losses.py --batch 4 --crop 448

An image's absent classes are not computed. With all classes present nothing can be left out, which is what every
image cost before.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch
from torch import Tensor
from wsseg_seam.loss import seam_views
from wsseg_seam.net import SeamMaps


def seconds(batch: int, crop: int, present: int, classes: int = 20) -> float:
    """Return what the losses of two views take, and their gradients."""
    labels = torch.zeros(batch, classes)
    labels[:, :present] = 1
    small = 3 * crop // 4

    def model(images: Tensor) -> SeamMaps:
        side = images.shape[-1] // 16
        cams = torch.randn(batch, 1 + classes, side, side, requires_grad=True)
        revised = torch.rand(batch, 1 + classes, side, side, requires_grad=True)
        return SeamMaps(cams, revised, cams)

    images = torch.randn(batch, 3, crop, crop)
    start = time.perf_counter()
    losses, _ = seam_views(model, images, labels, (small, small))
    torch.stack([*losses.values()]).sum().backward()
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    runs = [[seconds(options.batch, options.crop, n) for n in (20, 2)] for _ in range(1 + options.rounds)][1:]
    every, two = (median(column) for column in zip(*runs, strict=True))
    print(f"all classes present: {every:.2f} s; two of twenty: {two:.2f} s; {every / two:.2f} times as fast")


if __name__ == "__main__":
    main()
