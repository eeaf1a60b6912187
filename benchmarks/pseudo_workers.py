"""Pseudo-masks with the psa CRF by one and by two worker processes, on a machine that says it has a GPU.

    python benchmarks/pseudo_workers.py
    python benchmarks/pseudo_workers.py --images 80 --workers 1 2 4

The device's name is made up: nothing runs on it, since the CRF is computed on the cores. Printed are the seconds, the
ratio to one worker, and whether the files are the same.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from wsseg_cli.data.index import Entry, Index, write_index
from wsseg_cli.data.stores import ScoreStore
from wsseg_cli.engine import processes
from wsseg_cli.engine.each import each
from wsseg_cli.recipe.sections import PseudoSettings
from wsseg_cli.settings import RuntimeSettings
from wsseg_cli.stages import pseudo
from wsseg_cli.stages.per_image import cpu_workers
from wsseg_cli.types import ClassNames, Sample, ScoreMap

SIZE = (375, 500)
SECTION = PseudoSettings.model_validate({"background": {"threshold": 0.4}, "crf": "psa"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=800)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    arguments = parser.parse_args()
    processes.start = lambda device="auto": torch.device("cuda")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ids = write_maps(folder, arguments.images)
        first: tuple[float, dict[str, bytes]] | None = None
        for count in arguments.workers:
            asked = cpu_workers(RuntimeSettings(workers=count))
            out = folder / f"masks-{count}"
            given = (folder / "prepare", folder / "cam", out, SECTION, None, None, "cpu")
            each(ids[:24], pseudo._computer, given, workers=asked, quiet=True)  # machine code compiled, pages read
            started = time.perf_counter()
            done = each(ids, pseudo._computer, given, workers=asked, quiet=True)
            seconds = time.perf_counter() - started
            assert not done.failures, done.failures
            files = {path.name: path.read_bytes() for path in out.iterdir()}
            first = first or (seconds, files)
            same = "the same files" if files == first[1] else "OTHER FILES"
            print(f"{asked.number} workers: {seconds:.1f} s, {first[0] / seconds:.2f} times as fast, {same}")


def write_maps(folder: Path, count: int) -> list[str]:
    """Write an index, photos and score maps of two classes; return the image ids."""
    generator = np.random.default_rng(0)
    entries, store = [], ScoreStore(folder / "cam")
    (folder / "photos").mkdir()
    for number in range(count):
        photo = folder / "photos" / f"{number}.png"
        Image.fromarray(generator.integers(0, 255, (12, 16, 3), np.uint8)).resize(SIZE[::-1], 3).save(photo)
        entries.append(Entry(Sample(str(number), photo, (0, 1), None), ("train",), SIZE))
        scores = generator.random((2, SIZE[0] // 4, SIZE[1] // 4), np.float32)
        store.write(ScoreMap(str(number), np.array([0, 1]), scores, SIZE), 1)
    write_index(folder / "prepare", Index(entries, ClassNames(("cat", "dog"))), {})
    return [entry.sample.image_id for entry in entries]


if __name__ == "__main__":
    main()
