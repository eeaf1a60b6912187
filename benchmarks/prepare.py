"""`wsseg prepare` beside a loop that does nothing but decode the photos once, in turn, on the same cores.

Masks: VOC 2012 val of the folder `voc12_masks` (WSSEG_DEV_DATA or ../shared/data beside the checkout), 1449 of them;
photos of the same sizes are made up and saved as JPEG of quality 90. `prepare` decodes photos and masks, takes the
labels from the masks, checks them, and writes index and report. The loop is timed without the start of Python; so the
start of the command is timed, too: the same command when there is nothing left to do.

python benchmarks/prepare.py                     # on all cores that this process may use
taskset -c 0 python benchmarks/prepare.py        # on one
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from wsseg_cli.data.palette import voc_colours

HERE = Path(__file__).resolve().parent.parent
RECIPE = """\
name: timed
seed: 0
dataset: {name: voc, options: {root: ROOT, labels: masks}, train: val, val: val}
train_cls:
  method: {name: cam, options: {backbone: small}}
  weights: none
  batch_size: 1
  max_steps: 1
  optim: {name: adamw, lr: 1.0e-3}
"""


NAMES = ("decoding alone", "wsseg prepare", "its start")


class Seconds(NamedTuple):
    """Time by the clock, and of all cores together in this process or the command's."""

    wall: float
    cpu: float


def devkit(root: Path, count: int) -> list[Path]:
    """Lay out `count` masks of VOC 2012 val with photos made up for them; return the photos."""
    source = Path(os.environ.get("WSSEG_DEV_DATA", HERE.parent / "shared" / "data")) / "voc12_masks"
    ids = (source / "ImageSets" / "Segmentation" / "val.txt").read_text(encoding="utf-8").split()[:count]
    for name in ("JPEGImages", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    (root / "SegmentationClass").symlink_to(source / "SegmentationClass")
    (root / "ImageSets" / "Segmentation" / "val.txt").write_text("".join(f"{name}\n" for name in ids), encoding="utf-8")
    photos = [root / "JPEGImages" / f"{name}.jpg" for name in ids]
    rng = np.random.default_rng(0)
    for photo in photos:
        with Image.open(source / "SegmentationClass" / f"{photo.stem}.png") as mask:
            made_up(np.asarray(mask), rng).save(photo, quality=90)
    return photos


def made_up(mask: np.ndarray, rng: np.random.Generator) -> Image.Image:
    """Return a picture of the mask's size: its classes in muted colours, soft light and shade, grain on a part."""
    height, width = mask.shape
    soft = Image.fromarray(rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    middle = Image.fromarray(rng.integers(0, 256, (height // 5, width // 5, 3), dtype=np.uint8)).resize((width, height))
    grain = rng.normal(0, 9, (height, width, 1)) * (np.asarray(soft)[..., :1] > 110)
    pixels = 0.5 * np.asarray(soft) + 0.25 * voc_colours()[mask] + 0.15 * np.asarray(middle) + grain + 20
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def decode(photo: Path) -> None:
    with Image.open(photo) as picture:
        np.array(picture.convert("RGB"))


def decoding(photos: list[Path], cores: int) -> Seconds:
    wall, cpu = time.perf_counter(), time.process_time()
    if cores == 1:
        for photo in photos:
            decode(photo)
    else:  # decoders let go of the interpreter's lock
        with ThreadPoolExecutor(cores) as pool:
            list(pool.map(decode, photos))
    return Seconds(time.perf_counter() - wall, time.process_time() - cpu)


def preparing(recipe: Path, *words: str) -> Seconds:
    command = [
        sys.executable,
        "-m",
        "wsseg_cli",
        "prepare",
        "--recipe",
        str(recipe),
        "--run",
        str(recipe.parent / "run"),
    ]
    wall, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, "--quiet", *words], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Seconds(time.perf_counter() - wall, cpu)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=1449, help="samples")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        photos = devkit(Path(folder) / "VOC2012", options.count)
        size = sum(photo.stat().st_size for photo in photos) / len(photos)
        print(f"{len(photos)} samples, {size / 1000:.0f} kB a photo, cores: {cores}")
        recipe = Path(folder) / "timed.yaml"
        recipe.write_text(RECIPE.replace("ROOT", str(Path(folder) / "VOC2012")), encoding="utf-8")
        rounds = [
            (decoding(photos, cores), preparing(recipe, "--force"), preparing(recipe)) for _ in range(options.runs + 1)
        ]
    for kind in ("wall", "cpu"):
        columns = [[getattr(seconds, kind) for seconds in column] for column in zip(*rounds[1:], strict=True)]
        loop, command, start = (statistics.median(column) for column in columns)
        for name, median, column in zip(NAMES, (loop, command, start), columns, strict=True):
            print(f"{median:7.2f} s {kind:4}  {name:22}({' '.join(f'{s:.2f}' for s in column)})")
        print(f"{(command - start) / loop:7.2f} x, with the start of the command {command / loop:.2f} x")


if __name__ == "__main__":
    main()
