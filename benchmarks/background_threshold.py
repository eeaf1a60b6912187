"""How close `pseudo.background: auto` comes to the best threshold, on masks that the rule does not see.

    python benchmarks/background_threshold.py runs/quickstart
    python benchmarks/background_threshold.py --voc VOC_ROOT --split train --photos 120 --steps 200

A row: maps, the best threshold and its mIoU, and what `auto` and fixed thresholds lose against it, before any CRF. Of a
run, the stored maps of its training images. Of a VOC root, maps of a class layer that was trained for some steps on the
frozen ImageNet features of EfficientNet-lite0, one view at three quarters of the size: seconds instead of a training.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F
from wsseg_cam.method import CAM, PlainCamOptions
from wsseg_datasets.voc import Voc, VocOptions

from wsseg_cli.data.images import read_image, read_mask
from wsseg_cli.data.index import read_index
from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.engine import checkpoint
from wsseg_cli.metrics import ThresholdCurve, threshold_range
from wsseg_cli.ops.resize import pillow_resize
from wsseg_cli.types import ByteArray, ScoreMap

FIXED = (0.25, 0.30, 0.45)
Pairs = Iterator[tuple[ScoreMap, ByteArray]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", nargs="*", type=Path)
    parser.add_argument("--voc", type=Path, help="a folder in VOC layout")
    parser.add_argument("--masks", type=Path, nargs="+", default=[Path("SegmentationClass")])
    parser.add_argument("--split", default="train")
    parser.add_argument("--photos", type=int, default=120)
    parser.add_argument("--steps", type=int, default=200)
    arguments = parser.parse_args()
    print(f"| maps | best | mIoU | auto | {' | '.join(f'at {t:.2f}' for t in FIXED)} |")
    print("|---" * (4 + len(FIXED)) + "|")
    for run in arguments.runs:
        index, store = read_index(run / "prepare"), ScoreStore(run / "cam")
        samples = [s for s in index.samples("train") if s.mask is not None]
        row(str(run), ((store[s.image_id], read_mask(s.mask)) for s in samples), len(index.classes))  # type: ignore[arg-type]
    if arguments.voc:
        data = Voc(VocOptions(root=arguments.voc, masks=tuple(arguments.masks)), Path())
        samples = [s for s in data.samples(arguments.split) if s.labels and s.mask is not None]
        samples = random.Random(0).sample(samples, min(arguments.photos, len(samples)))
        title = f"{arguments.split}, {len(samples)} photos, {arguments.steps} steps"
        row(title, probed(samples, data, arguments.steps), len(data.classes()))


def row(title: str, pairs: Pairs, num_classes: int) -> None:
    """Print the row of some score maps and their masks."""
    curve, means = ThresholdCurve(threshold_range(0.0, 1.0, 0.01), num_classes), []
    for scores, mask in pairs:
        curve.add(mask[::2, ::2], scores.classes, scores.full(0.0)[1:, ::2, ::2])
        if len(scores.classes) and scores.scores.max() > 0:
            means.append(float(scores.scores.max(axis=0).mean(dtype=np.float64)))
    points, best, auto = curve.points(), curve.best(), round(float(np.mean(means)), 2)

    def lost(threshold: float) -> str:
        return f"{100 * (points[round(100 * threshold)].mean_iou - best.mean_iou):.2f}"

    cells = [f"{best.threshold:.2f}", f"{100 * best.mean_iou:.1f}", f"{auto:.2f}, {lost(auto)}", *map(lost, FIXED)]
    print(f"| {title} | {' | '.join(cells)} |", flush=True)


def probed(samples: list, data: Voc, steps: int) -> Pairs:  # type: ignore[type-arg]
    """Yield score maps of a class layer on frozen features, and the masks."""
    torch.manual_seed(0)
    options = {"output_stride": 16, "normalization": "tensorflow"}
    method = CAM(PlainCamOptions(backbone="efficientnet_lite0", backbone_options=options), data.classes())
    model = method.build_model()
    checkpoint.load_initial(model, "package")
    model.eval()
    maps, labels = [], torch.zeros(len(samples), len(data.classes()))
    with torch.inference_mode():
        for number, sample in enumerate(samples):
            photo = read_image(sample.image, sample.orientation)
            small = pillow_resize(photo, (round(photo.shape[0] * 0.75), round(photo.shape[1] * 0.75)))
            pixels = torch.from_numpy(method.normalization.apply(small).transpose(2, 0, 1).copy())[None]
            maps.append(model.backbone(pixels)["conv6"][0].half())
            labels[number, list(sample.labels)] = 1
    pooled = torch.stack([features.float().mean((1, 2)) for features in maps])
    layer = torch.nn.Linear(pooled.shape[1], labels.shape[1])
    torch.nn.init.zeros_(layer.weight)
    torch.nn.init.zeros_(layer.bias)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=3e-3, weight_decay=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        F.binary_cross_entropy_with_logits(layer(pooled), labels).backward()
        optimizer.step()
    for sample, features in zip(samples, maps, strict=True):
        mask = read_mask(sample.mask)
        weight = layer.weight.detach()[list(sample.labels)]
        cam = torch.einsum("kc,chw->khw", weight, features.float()).relu()
        cam = cam / cam.amax((1, 2), keepdim=True).clamp(min=1e-5)
        yield ScoreMap(sample.image_id, np.asarray(sample.labels), cam.numpy(), mask.shape), mask


if __name__ == "__main__":
    main()
