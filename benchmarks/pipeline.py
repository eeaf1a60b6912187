"""How busy the per-image loop keeps a device: a stand-in for a GPU that takes a fixed time an image.

    python benchmarks/pipeline.py                         40 ms an image, four scales with flips, photos of 375 x 500
    python benchmarks/pipeline.py --workers 1 2 4 8 --images 100

The device is a lock and a sleep: one image's views at a time, no use of the processor. Each image is decoded, resized
to its views, handed to the device, merged and written, as `cam` does it. Printed is the share of the rate of the device
alone that is reached with one image at a time and with several in flight.
"""

from __future__ import annotations

import argparse
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from wsseg_cli.data.images import read_image
from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.engine.each import Work, Workers, each
from wsseg_cli.ops import views
from wsseg_cli.ops.cam import multi_scale
from wsseg_cli.settings import InferSettings
from wsseg_cli.types import Normalization

SCALES = (0.5, 1.0, 1.5, 2.0)
SIZE = (375, 500)
VIEWS = 2 * len(SCALES)
CLASSES = 20


class Device(nn.Module):
    """Takes `seconds` for the `VIEWS` of an image, whoever asks; gives maps at stride 8."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds = seconds
        self.turn = threading.Lock()

    def forward(self, batch: Tensor) -> Tensor:
        with self.turn:
            time.sleep(self.seconds * len(batch) / VIEWS)
        return torch.ones(len(batch), CLASSES, batch.shape[2] // 8, batch.shape[3] // 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--milliseconds", type=float, default=40, help="of the device, an image")
    parser.add_argument("--images", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2, 4])
    arguments = parser.parse_args()
    seconds = arguments.milliseconds / 1000
    views.LARGE_VIEW = 1 << 60  # a GPU takes a view and its flip together whatever their size, as a CPU does not
    with tempfile.TemporaryDirectory() as folder:
        photos = write_photos(Path(folder), arguments.images)
        print(f"{arguments.images} photos of {SIZE[0]} x {SIZE[1]}, {len(SCALES)} scales with flips")
        full = device_rate(seconds)
        print(f"the device alone: {full:5.1f} images a second")
        for count in arguments.workers:
            started, used = time.perf_counter(), time.process_time()
            given = (photos, Path(folder, f"maps-{count}"), seconds)
            each(list(photos), computer, given, workers=Workers(count, threads=True), quiet=True)
            wall, used = time.perf_counter() - started, time.process_time() - used
            rate = arguments.images / wall
            print(
                f"{count} in flight: {rate:5.1f} images a second, {rate / full:.2f} of the device's rate, "
                f"{1000 * used / arguments.images:.0f} ms of the processor an image"
            )


def device_rate(seconds: float, images: int = 50) -> float:
    """Return the images a second of a device whose next views are always at hand: a sleep takes longer than asked."""
    device = Device(seconds)
    batch = torch.zeros(2, 3, 8, 8)
    started = time.perf_counter()
    with torch.inference_mode():
        for _ in range(images * len(SCALES)):
            device(batch)
    return images / (time.perf_counter() - started)


def write_photos(folder: Path, count: int) -> dict[str, Path]:
    """Write `count` JPEGs with the noise and the gradients that photos have."""
    generator = np.random.default_rng(0)
    slope = np.linspace(0, 200, SIZE[1])[None, :, None]
    paths = {}
    for number in range(count):
        paths[str(number)] = folder / f"{number}.jpg"
        pixels = slope + generator.normal(20, 10, (*SIZE, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(paths[str(number)], quality=90)
    return paths


def computer(photos: dict[str, Path], folder: Path, seconds: float) -> Work:
    device, store = Device(seconds).eval(), ScoreStore(folder)
    infer = InferSettings(scales=SCALES, flip=True)

    def compute(name: str) -> None:
        image = read_image(photos[name])
        with torch.inference_mode():
            scores = multi_scale(device, image, (1, 7), infer, normalization=Normalization())
        store.write(replace(scores, image_id=name), 4)

    return compute


if __name__ == "__main__":
    main()
