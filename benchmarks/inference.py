"""Test-time inference of a segmentation network beside one view at a time and a straightforward script, in one run.

Network part: the forward passes of four scales and mirror images of each photo. Whole command: decode, views, forward,
merge, PNG; ours with the functions of `wsseg predict`, beside the straightforward script, which keeps a full-size map
of every view and stacks them. Both use the same network, the same views and one thread; runs alternate.

python benchmarks/inference.py photos/ --model runs/cam_voc_lite/train-seg/model.safetensors
python benchmarks/inference.py photos/ --random efficientnet_lite0   # a network with random weights
"""

from __future__ import annotations

import argparse
import copy
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from wsseg_cli import discovery
from wsseg_cli.data.palette import palette_bytes
from wsseg_cli.data.stores import MaskStore
from wsseg_cli.ops.views import forward_views, view_batches
from wsseg_cli.predict import photos_at, read_upright
from wsseg_cli.protocols import Segmenter
from wsseg_cli.settings import InferSettings
from wsseg_cli.stages.plugins import segmenter_from, trained
from wsseg_cli.types import ByteArray, ClassNames

VIEWS = InferSettings(scales=(0.5, 0.75, 1.0, 1.5), flip=True)


def random_network(backbone: str, classes: int) -> tuple[Segmenter, nn.Module]:
    cls = discovery.load("segmenters", "deeplabv2")
    names = ClassNames(f"class {number}" for number in range(classes))
    options = cls.Options.model_validate({"backbone": backbone, "form": "v2_small"})
    segmenter: Segmenter = cls(options, names)  # type: ignore[assignment, arg-type, call-arg]
    torch.manual_seed(0)
    return segmenter, segmenter.build_model().eval()


def forward_one_by_one(model: nn.Module, batches: list[Tensor]) -> list[Tensor]:
    return [model(batch[i : i + 1]) for batch in batches for i in range(len(batch))]


def straightforward(segmenter: Segmenter, model: nn.Module, path: Path, target: Path) -> None:
    """Write the mask of one photo as the published scripts do: all views at full size, stacked, then their mean."""
    image = np.asarray(Image.open(path).convert("RGB"))
    size = image.shape[:2]
    maps = []
    for batch in view_batches(image, VIEWS, segmenter.normalization, "opencv_cubic"):
        for number in range(len(batch)):
            logits = model(batch[number : number + 1])
            full = F.interpolate(logits, size, mode="bilinear", align_corners=bool(model.align_corners))[0]
            maps.append((full.flip(-1) if number else full).numpy())
    probabilities = torch.softmax(torch.from_numpy(np.stack(maps).mean(0)), 0).numpy()
    picture = Image.fromarray(probabilities.argmax(0).astype(np.uint8))
    picture.putpalette(palette_bytes())
    picture.save(target)


def ours(segmenter: Segmenter, model: nn.Module, path: Path, target: Path) -> None:
    image: ByteArray = read_upright(path)
    mask = segmenter.logits(model, image, VIEWS).argmax(axis=0).astype(np.uint8)
    MaskStore(target.parent).write(target.stem, mask)


def timed(ways: dict[str, Callable[[], object]], runs: int) -> dict[str, list[float]]:
    """Return processor seconds of each way; the runs of all ways alternate, the order turns round."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for number in range(runs):
        for name in list(ways)[:: 1 if number % 2 else -1]:
            start = time.process_time()
            ways[name]()
            seconds[name].append(time.process_time() - start)
    return seconds


def told(title: str, seconds: dict[str, list[float]], count: int) -> None:
    first, second = seconds
    print(title)
    for name, values in seconds.items():
        each = ", ".join(f"{value / count:.3f}" for value in values)
        print(f"  {name:<22} {median(values) / count:.3f} s a photo ({each})")
    print(f"  {second} / {first}: {median(seconds[second]) / median(seconds[first]):.2f}")


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="+")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--random", default="efficientnet_lite0", metavar="BACKBONE")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--count", type=int, default=6)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.model:
        segmenter = segmenter_from(options.model)
        model = trained(segmenter, options.model, "cpu")
    else:
        segmenter, model = random_network(options.random, options.classes)
    paths = list(photos_at(options.photos, Path("predictions")).values())[: options.count]
    batches = [list(view_batches(read_upright(p), VIEWS, segmenter.normalization, "opencv_cubic")) for p in paths]
    fast = copy.deepcopy(model).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    network: dict[str, Callable[[], object]] = {
        "ours": lambda: [[forward_views(fast, batch) for batch in b] for b in batches],
        "one view at a time": lambda: [forward_one_by_one(model, b) for b in batches],
    }
    told("network part", timed(network, options.runs), len(paths))
    with tempfile.TemporaryDirectory() as made, tempfile.TemporaryDirectory() as theirs:
        whole: dict[str, Callable[[], object]] = {
            "ours": lambda: [ours(segmenter, fast, p, Path(made) / f"{p.stem}.png") for p in paths],
            "straightforward": lambda: [
                straightforward(segmenter, model, p, Path(theirs) / f"{p.stem}.png") for p in paths
            ],
        }
        told("decode, views, network, merge, PNG", timed(whole, options.runs), len(paths))
        same = [
            np.mean(
                np.asarray(Image.open(Path(made) / f"{p.stem}.png"))
                == np.asarray(Image.open(Path(theirs) / f"{p.stem}.png"))
            )
            for p in paths
        ]
        print(f"  equal labels: {100 * float(np.mean(same)):.4f} % of the pixels")


if __name__ == "__main__":
    main()
