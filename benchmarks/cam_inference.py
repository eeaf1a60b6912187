"""Score maps of a classifier beside a straightforward loop, in one run: four scales with flips, one thread.

    python benchmarks/cam_inference.py                          ResNet-38 with random weights, a photo of 188 x 250
    python benchmarks/cam_inference.py --size 375 500 --backbone efficientnet_lite0 --runs 5

Straightforward: the network as it was trained, one view after the other, a full-size map of each view kept, then their
sum. Ours: the functions of `wsseg cam`, by default, with `cam.fold_norms: true` and with `cam.infer.precision: bf16`.
Labels are the best class where its score is above the threshold, else background. Seconds are the processor's; the ways
alternate.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from statistics import median
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from wsseg_cam.method import CAM, PlainCamOptions
from wsseg_cam.net import CamNet

from wsseg_cli.engine.arithmetic import autocast
from wsseg_cli.nets.inference import for_inference
from wsseg_cli.ops.views import view_batches
from wsseg_cli.settings import InferSettings
from wsseg_cli.testing import made_up
from wsseg_cli.types import ByteArray, ClassNames, FloatArray, IntArray

VIEWS = InferSettings(scales=(0.5, 1.0, 1.5, 2.0), flip=True)
LABELS = (0, 7, 12)
THRESHOLD = 0.3


def lively(network: CamNet) -> CamNet:
    """Return a network of random weights in eval mode, its batch norms changing what they get."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None and module.running_var is not None
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
            nn.init.uniform_(module.running_var, 0.7, 1.4)
    return network.eval()


def straightforward(method: CAM, network: CamNet, image: ByteArray) -> FloatArray:
    """Return the score maps of LABELS, (K, H, W), as the published scripts make them."""
    maps = []
    for batch in view_batches(image, VIEWS, method.normalization):
        for number in range(len(batch)):
            cams = F.relu(network.raw_cams(batch[number : number + 1]))
            full = F.interpolate(cams, image.shape[:2], mode="bilinear", align_corners=False)[0].numpy()
            maps.append(full[:, :, ::-1] if number else full)
    total = np.sum(maps, axis=0)[list(LABELS)]
    return total / (total.max((1, 2), keepdims=True) + 1e-5)


def labels_of(scores: FloatArray) -> IntArray:
    return np.concatenate([np.full((1, *scores.shape[1:]), THRESHOLD, np.float32), scores]).argmax(0)


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet38")
    parser.add_argument("--size", type=int, nargs=2, default=(188, 250), metavar=("H", "W"))
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    method = CAM(PlainCamOptions(backbone=options.backbone), ClassNames(f"class {n}" for n in range(20)))
    plain = lively(method.build_model())
    fast = cast(CamNet, for_inference(copy.deepcopy(plain)))
    image, _ = made_up(size=tuple(options.size))

    def in_bf16() -> FloatArray:
        with autocast("cpu", "bf16"):
            return method.scores(fast, image, LABELS, VIEWS).scores

    ways: dict[str, Callable[[], FloatArray]] = {
        "straightforward": lambda: straightforward(method, plain, image),
        "ours": lambda: method.scores(plain, image, LABELS, VIEWS).scores,
        "ours, folded": lambda: method.scores(fast, image, LABELS, VIEWS).scores,
        "ours in bf16": in_bf16,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    found: dict[str, FloatArray] = {}
    for number in range(options.runs + 1):
        for name, way in list(ways.items())[:: 1 if number % 2 else -1]:
            start = time.process_time()
            found[name] = way()
            seconds[name].append(time.process_time() - start)
    first = labels_of(found["straightforward"])
    print(f"{options.backbone}, photo of {image.shape[0]} x {image.shape[1]}, scales {VIEWS.scales} with flips")
    for name, values in seconds.items():
        each = " ".join(f"{value:.2f}" for value in values[1:])
        ratio = median(seconds["straightforward"][1:]) / median(values[1:])
        same = 100 * float((labels_of(found[name]) == first).mean())
        print(f"{name:16} {median(values[1:]):6.2f} s ({each})  {ratio:.2f} x  {same:.3f} % of the labels equal")


if __name__ == "__main__":
    main()
