"""The table of methods on the toy scenes: seed, and pseudo-masks with CRF, mean and spread over seeds.

    python benchmarks/toy_table.py                       every method, seeds 0 1 2; goes on where it was stopped
    python benchmarks/toy_table.py --methods cam eps --seeds 0
    python benchmarks/toy_table.py --write docs/methods.md

Runs lie in runs/toy_table/METHOD-SEED; `prepare` is done once and shared. Every figure is a mIoU over the 240 training
scenes with image labels given; the seed's threshold is chosen on their masks, the pseudo-masks use the recipe's own.
"saliency alone" takes the class from plain CAM's argmax and the extent from saliency > 0.5, no training: what a method
that reads saliency has to beat.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from wsseg_cli.data.images import read_saliency
from wsseg_cli.data.index import read_index
from wsseg_cli.data.stores import ScoreStore, checked_mask
from wsseg_cli.metrics import Confusion

ROWS = {
    "cam": ("plain CAM", "quickstart"),
    "seam": ("SEAM", "quickstart_seam"),
    "sccam": ("SC-CAM", "quickstart_sccam"),
    "ppc_seam": ("PPC on SEAM", "quickstart_ppc_seam"),
    "eps": ("EPS (I+S)", "quickstart_eps"),
    "ppc_eps": ("PPC on EPS (I+S)", "quickstart_ppc"),
    "onestage": ("single stage", "quickstart_onestage"),
    "puzzlecam": ("PuzzleCAM", "quickstart_puzzlecam"),
    "rsepm": ("RecurSeed + EdgePredictMix (reconstructed)", "quickstart_rsepm"),
}
BEGIN, END = "<!-- toy table: begin -->", "<!-- toy table: end -->"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/toy_table"))
    parser.add_argument("--write", type=Path, help="put the table between its two marks in this file")
    arguments = parser.parse_args()
    seeds: dict[str, list[float]] = {}
    masks: dict[str, list[float]] = {}
    minutes: dict[str, list[float]] = {}
    alone: list[float] = []
    for method in arguments.methods:
        for seed in arguments.seeds:
            run = arguments.out / f"{method}-{seed}"
            judged = reached(run, ROWS[method][1], seed, arguments.out)
            seeds.setdefault(method, []).append(judged["cam"])
            masks.setdefault(method, []).append(judged["pseudo"])
            minutes.setdefault(method, []).append(judged["minutes"])
            if method == "cam":
                alone.append(saliency_alone(run))
            print(f"{method} seed {seed}: {judged}", file=sys.stderr, flush=True)
    lines = [
        f"| toy scenes, seeds {', '.join(map(str, arguments.seeds))} | seed | pseudo-masks (CRF) | minutes |",
        "|---|---|---|---|",
    ]
    for method in arguments.methods:
        name = ROWS[method][0]
        lines.append(f"| {name} | {spread(seeds[method])} | {spread(masks[method])} | {spread(minutes[method])} |")
        if method == "cam":
            lines.append(f"| saliency alone | {spread(alone)} | - | - |")
    table = "\n".join(lines)
    print(table)
    if arguments.write:
        write_between(arguments.write, BEGIN, END, table)


def reached(run: Path, recipe: str, seed: int, out: Path) -> dict[str, float]:
    """Train, compute and judge one row and seed; return its mIoUs and the minutes up to the score maps."""
    common = ["--recipe", recipe, "--run", str(run), "--set", f"seed={seed}", "--quiet"]
    stages = ["run", "--to", "pseudo"]
    with share_prepare(out, run):
        subprocess.run([sys.executable, "-m", "wsseg_cli", *stages, *common], check=True, stdout=subprocess.DEVNULL)
    for what in ("cam", "pseudo"):
        words = ["eval", "--what", what, "--split", "train"]
        subprocess.run([sys.executable, "-m", "wsseg_cli", *words, *common], check=True, stdout=subprocess.DEVNULL)
    done = [json.loads((run / stage / "done.json").read_text())["seconds"] for stage in ("train-cls", "cam")]
    figures = {w: json.loads((run / f"eval/{w}-train.json").read_text())["miou"] for w in ("cam", "pseudo")}
    return figures | {"minutes": sum(done) / 60}


@contextmanager
def share_prepare(out: Path, run: Path) -> Iterator[None]:
    """Give a run the scenes that another one prepared; the first to come prepares them for all."""
    shared = out / "prepare"
    if shared.is_dir() and not (run / "prepare").is_dir():
        shutil.copytree(shared, run / "prepare")
    yield
    if not shared.is_dir():
        shutil.copytree(run / "prepare", shared)


def saliency_alone(run: Path) -> float:
    """Return the mIoU of plain CAM's class inside the salient area, over the training scenes."""
    index = read_index(run / "prepare")
    store = ScoreStore(run / "cam")
    confusion = Confusion(len(index.classes))
    for sample in index.samples("train"):
        scores = store[sample.image_id]
        values = np.asarray(scores.classes + 1, np.uint8)
        prediction = values[scores.full(0.0)[1:].argmax(axis=0)]
        prediction[read_saliency(sample.extras["saliency"]) <= 127] = 0
        confusion.add(checked_mask(sample.mask, index.classes), prediction, image_id=sample.image_id)
    return 100 * confusion.mean_iou()


def spread(values: list[float]) -> str:
    """Return "mean ± half the range" of a row."""
    half = (max(values) - min(values)) / 2
    return f"{statistics.mean(values):.1f} ± {half:.1f}"


def write_between(path: Path, begin: str, end: str, table: str) -> None:
    """Put a table between two marks of a file."""
    before, rest = path.read_text().split(begin)
    path.write_text(before + begin + "\n" + table + "\n" + end + rest.split(end)[1])


if __name__ == "__main__":
    main()
