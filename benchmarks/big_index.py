"""What a large data set costs beside its images: every command on a made-up index, large and small.

Photos of 32 x 24, masks and labels of 80 classes are made up, as are the results of `cam` and `pseudo` for all images
but the last 48, so that the time of these stages is their start; files of a class are links to one. Printed are the
seconds by the clock and of the processor, the memory of the largest process beyond what `import torch` alone takes, and
by how much each grew.

    python benchmarks/big_index.py                    # 1 000 and 120 000 images
    TMPDIR=/dev/shm python benchmarks/big_index.py --images 20000 --small 500      # in memory, whatever the disk does
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from wsseg_cli.data.palette import palette_bytes
from wsseg_cli.data.stores import MaskStore, ScoreStore
from wsseg_cli.types import ScoreMap

CLASSES = [f"class{number:02d}" for number in range(80)]
SIZE = (24, 32)
LEFT = 48
"""Images that are left to a per-image stage: enough for two workers to be started."""

RECIPE = f"""\
name: big
dataset:
  name: folder
  options: {{root: ROOT, labels: labels.csv, masks: ../masks, classes: [{", ".join(CLASSES)}], val_share: 0.001}}
  train: train
train_cls:
  method: {{name: cam, options: {{backbone: small, backbone_options: {{width: 4}}}}}}
  weights: none
  batch_size: 4
  max_steps: 2
  augment: {{crop: 32}}
  optim: {{name: sgd, lr: 0.01}}
cam: {{}}
pseudo: {{background: {{threshold: 0.3}}}}
train_seg:
  segmenter: {{name: deeplabv2, options: {{backbone: small, backbone_options: {{width: 4}}, form: v2_small}}}}
  weights: none
  batch_size: 4
  max_steps: 2
  augment: {{crop: 32}}
  optim: {{name: sgd, lr: 0.01}}
runtime: {{workers: 2, device: cpu}}
"""

COMMANDS = (
    ("prepare",),
    ("prepare", "prepare again"),
    ("train-cls",),
    ("cam", f"cam of {LEFT}"),
    ("pseudo", f"pseudo of {LEFT}"),
    ("pseudo", "pseudo again"),
    ("train-seg",),
    ("status",),
    ("eval --what pseudo",),
    ("report",),
)
"""Words of each command, and what to call it where that is something else."""


class Cost(NamedTuple):
    """Seconds by the clock and of all cores; MB of the largest process."""

    wall: float
    cpu: float
    memory: float


def write_data(root: Path, count: int) -> list[str]:
    """Write photos, masks and their table, a thousand a folder; return the ids."""
    rng = np.random.default_rng(0)
    for number in range(len(CLASSES)):
        (root / f"{number}.jpg").write_bytes(picture(rng.integers(0, 256, (*SIZE, 3), np.uint8), "JPEG"))
        (root / f"{number}.png").write_bytes(picture(np.full(SIZE, number + 1, np.uint8), "PNG"))
    ids, rows = [], ["image,labels"]
    for number in range(count):
        name, kind = f"{number // 1000:03d}/{number:06d}", number % len(CLASSES)
        if number % 1000 == 0:
            (root / "photos" / name).parent.mkdir(parents=True)
            (root / "masks" / name).parent.mkdir(parents=True)
        os.link(root / f"{kind}.jpg", root / "photos" / f"{name}.jpg")
        os.link(root / f"{kind}.png", root / "masks" / f"{name}.png")
        ids.append(name)
        rows.append(f"{name}.jpg,{CLASSES[kind]}")
    (root / "photos" / "labels.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return ids


def picture(pixels: np.ndarray, kind: str) -> bytes:
    image, file = Image.fromarray(pixels), io.BytesIO()
    if pixels.ndim == 2:
        image.putpalette(palette_bytes())
    image.save(file, kind)
    return file.getvalue()


def write_results(run: Path, ids: list[str]) -> None:
    """Write what `cam` and `pseudo` would have written, but for the last images."""
    scores, masks = ScoreStore(run / "cam"), MaskStore(run / "pseudo")
    for number, image_id in enumerate(ids[:-LEFT]):
        kind = number % len(CLASSES)
        if number == kind:
            scores.write(ScoreMap(image_id, np.array([kind]), np.ones((1, 6, 8), np.float32), SIZE), 4)
            masks.write(image_id, np.full(SIZE, kind + 1, np.uint8))
        else:
            os.link(scores.path(ids[kind]), scores.path(image_id))
            os.link(masks.path(ids[kind]), masks.path(image_id))


def cost(*command: str) -> Cost:
    """Return what a command costs, its worker processes included.

    Raises:
        SystemExit: the command failed; says how.
    """
    with tempfile.TemporaryFile("w+", encoding="utf-8") as said:
        start = time.perf_counter()
        child = subprocess.Popen([sys.executable, *command], stdout=said, stderr=said)
        _, status, used = os.wait4(child.pid, 0)
        wall = time.perf_counter() - start
        if status:
            said.seek(0)
            raise SystemExit(f"{' '.join(command)}: {said.read()}")
    return Cost(wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=120_000)
    parser.add_argument("--small", type=int, default=1_000)
    options = parser.parse_args()
    torch_alone = cost("-c", "import torch")
    print(f"import torch: {torch_alone.wall:.2f} s, {torch_alone.memory:.0f} MB", flush=True)
    costs: list[list[Cost]] = []
    for count in (options.small, options.images):
        with tempfile.TemporaryDirectory() as folder:
            root, run = Path(folder), Path(folder, "run")
            start = time.perf_counter()
            ids = write_data(root, count)
            write_results(run, ids)
            os.sync()  # else the first command waits for the disk
            print(f"{count} images made up in {time.perf_counter() - start:.0f} s", flush=True)
            recipe = root / "big.yaml"
            recipe.write_text(RECIPE.replace("ROOT", str(root / "photos")), encoding="utf-8")
            found = []
            for words, *_ in COMMANDS:
                where = [str(run)] if words in ("status", "report") else ["--recipe", str(recipe), "--run", str(run)]
                quiet = [] if words in ("status", "report") else ["--quiet"]
                found.append(cost("-m", "wsseg_cli", *words.split(), *where, *quiet))
                wall, cpu, memory = found[-1]
                print(f"  {words}: {wall:.1f} s, {cpu:.1f} s, {memory:.0f} MB", file=sys.stderr, flush=True)
            costs.append(found)
    few, many = options.small, options.images
    print(f"\n{'':20} {few:>8} images {many:>14} images")
    print(f"{'':20} {'clock, processor, MB':>24} {'clock, processor, MB':>24}   beyond the small one, an image")
    for names, small, large in zip(COMMANDS, *costs, strict=True):
        cells = [f"{c.wall:7.2f} s {c.cpu:7.2f} s {c.memory - torch_alone.memory:6.0f}" for c in (small, large)]
        slope = 1e6 * (large.cpu - small.cpu) / (many - few)
        size = 1024 * (large.memory - small.memory) / (many - few)
        print(f"{names[-1]:20} {cells[0]:>24} {cells[1]:>24}   {slope:6.0f} us {size:6.2f} KB")


if __name__ == "__main__":
    main()
