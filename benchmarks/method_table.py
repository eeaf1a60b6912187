"""The tables of methods: thresholded CAMs (initial seeds) and pseudo-masks with CRF, mean and spread over random seeds.

    python benchmarks/method_table.py toy                              every method on the toy scenes, seeds 0 1 2
    python benchmarks/method_table.py toy --methods cam eps --seeds 0
    python benchmarks/method_table.py toy --write README.md README.zh.md docs/methods.md
    VOC_ROOT=… VOC_SALIENCY=… python benchmarks/method_table.py photos  real photos in VOC layout

A table goes on where it was stopped. Runs lie in runs/NAME_table/METHOD-SEED; `prepare` is done once and shared. Every
figure is a mIoU over the training split with image labels given; the threshold of the CAMs is chosen on the masks, the
pseudo-masks use the recipe's own. "saliency alone" takes the class from plain CAM's argmax and the extent from
saliency > 0.5, no training: what a method that reads saliency has to beat.
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
from typing import NamedTuple

import numpy as np

from wsseg_cli.data.images import read_saliency
from wsseg_cli.data.index import read_index
from wsseg_cli.data.stores import ScoreStore, checked_mask
from wsseg_cli.metrics import Confusion
from wsseg_cli.types import ClassNames


class Row(NamedTuple):
    """A line of a table; `saliency`: its data set needs a saliency folder; `settings`: what differs from its recipe."""

    title: str
    recipe: str
    saliency: bool = False
    settings: tuple[str, ...] = ()


TABLES = {
    "toy": {
        "cam": Row("plain CAM", "quickstart"),
        "cam_800": Row("plain CAM, 800 steps", "quickstart", settings=("train_cls.max_steps=800",)),
        "seam": Row("SEAM", "quickstart_seam"),
        "sccam": Row("SC-CAM", "quickstart_sccam"),
        "ppc_seam": Row("PPC on SEAM", "quickstart_ppc_seam"),
        "eps": Row("EPS (I+S)", "quickstart_eps"),
        "ppc_eps": Row("PPC on EPS (I+S)", "quickstart_ppc"),
        "onestage": Row("single stage", "quickstart_onestage"),
        "puzzlecam": Row("PuzzleCAM", "quickstart_puzzlecam"),
        "rsepm": Row("RecurSeed + EdgePredictMix (reconstructed)", "quickstart_rsepm"),
    },
    "photos": {
        "cam": Row("plain CAM", "cam_voc_lite"),
        "seam": Row("SEAM", "seam_voc_lite"),
        "sccam": Row("SC-CAM", "sccam_voc_lite"),
        "eps": Row("EPS (I+S)", "eps_voc_lite", True),
        "ppc_eps": Row("PPC on EPS (I+S)", "ppc_eps_voc_lite", True),
        "onestage": Row("single stage", "onestage_voc_lite"),
        "rsepm": Row("RecurSeed + EdgePredictMix (reconstructed)", "rsepm_voc_lite"),
    },
}
CAPTION = {"toy": "toy scenes", "photos": "real photos"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--methods", nargs="+", help="rows, by the names that their folders have; default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="folder of the runs; default: runs/TABLE_table")
    parser.add_argument(
        "--write", type=Path, nargs="+", default=[], help="put the table between its marks in these files"
    )
    arguments = parser.parse_args()
    rows = TABLES[arguments.table]
    methods = arguments.methods or list(rows)
    if unknown := [method for method in methods if method not in rows]:
        parser.error(f"no row {unknown[0]!r}; there are: {', '.join(rows)}")
    out = arguments.out or Path(f"runs/{arguments.table}_table")
    reached: dict[str, list[dict[str, float]]] = {}
    for method in methods:
        for seed in arguments.seeds:
            reached.setdefault(method, []).append(figures(out / f"{method}-{seed}", rows[method], seed, out))
            print(f"{method} seed {seed}: {reached[method][-1]}", file=sys.stderr, flush=True)
    seeds = "random seed" if len(arguments.seeds) == 1 else "random seeds"
    lines = [
        f"| {CAPTION[arguments.table]}, {seeds} {', '.join(map(str, arguments.seeds))} "
        "| CAM (initial seed) | pseudo-masks (CRF) | minutes |",
        "|---|---|---|---|",
    ]
    for method in methods:
        columns = ([run[key] for run in reached[method]] for key in ("cam", "pseudo", "minutes"))
        lines.append(f"| {rows[method].title} | {' | '.join(map(spread, columns))} |")
        if method == "cam" and "eps" in methods:
            alone = [saliency_alone(out / f"cam-{seed}", out / f"eps-{seed}") for seed in arguments.seeds]
            lines.append(f"| saliency alone (S) | {spread(alone)} | - | - |")
    table = "\n".join(lines)
    print(table)
    for path in arguments.write:
        write_between_marks(path, f"{arguments.table} table", table)


def figures(run: Path, row: Row, seed: int, out: Path) -> dict[str, float]:
    """Train, compute and evaluate one row and seed; return its mIoUs and the minutes up to the score maps."""
    settings = [word for setting in (f"seed={seed}", *row.settings) for word in ("--set", setting)]
    common = ["--recipe", row.recipe, "--run", str(run), *settings, "--quiet"]
    with share_prepare(out / ("prepare-saliency" if row.saliency else "prepare"), run):
        wsseg(["run", "--to", "pseudo", *common])
    for what in ("cam", "pseudo"):
        wsseg(["eval", "--what", what, "--split", "train", *common])
    done = [
        json.loads((run / stage / "done.json").read_text(encoding="utf-8"))["seconds"] for stage in ("train-cls", "cam")
    ]
    miou = {
        what: json.loads((run / f"eval/{what}-train.json").read_text(encoding="utf-8"))["miou"]
        for what in ("cam", "pseudo")
    }
    return miou | {"minutes": sum(done) / 60}


@contextmanager
def share_prepare(shared: Path, run: Path) -> Iterator[None]:
    """Give a run what another one prepared; the first to come prepares it for all."""
    if shared.is_dir() and not (run / "prepare").is_dir():
        shutil.copytree(shared, run / "prepare")
    yield
    if not shared.is_dir():
        shutil.copytree(run / "prepare", shared)


def wsseg(words: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "wsseg_cli", *words], check=True, stdout=subprocess.DEVNULL)


def saliency_alone(cam: Path, with_saliency: Path) -> float:
    """Return the mIoU of plain CAM's class inside the salient area; the maps' paths come from another run's index."""
    index = read_index(with_saliency / "prepare")
    store = ScoreStore(cam / "cam")
    confusion = Confusion(len(index.classes))
    for sample in index.samples("train"):
        scores = store[sample.image_id]
        salient = read_saliency(sample.extras["saliency"]) > 127
        prediction = np.zeros(salient.shape, np.uint8)
        if len(scores.classes):
            best = scores.classes[scores.full(0.0)[1:].argmax(axis=0)]
            prediction[salient] = ClassNames.mask_value(best)[salient]
        confusion.add(checked_mask(sample.mask, index.classes), prediction, image_id=sample.image_id)
    return 100 * confusion.mean_iou()


def spread(values: list[float]) -> str:
    """Return "mean ± half the range" of a row, or the value where there is one."""
    half = (max(values) - min(values)) / 2
    return f"{statistics.mean(values):.1f}" + (f" ± {half:.1f}" if len(values) > 1 else "")


def write_between_marks(path: Path, name: str, table: str) -> None:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    path.write_text(before + begin + "\n" + table + "\n" + end + rest.split(end)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
