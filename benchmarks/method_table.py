"""The tables of methods: thresholded CAMs (initial seeds) and pseudo-masks with CRF, mean and spread over random seeds.

    python benchmarks/method_table.py toy                              every method on the toy scenes, seeds 0 1 2
    python benchmarks/method_table.py toy --methods cam eps --seeds 0
    python benchmarks/method_table.py toy --write README.md README.zh.md docs/methods.md
    VOC_ROOT=… VOC_SALIENCY=… python benchmarks/method_table.py photos  real photos in VOC layout
    VOC_ROOT=… VOC_SALIENCY=… python benchmarks/method_table.py voc     real VOC photos, splits train_mini and val_mini

A table resumes where it was stopped. Runs are in runs/NAME_table/METHOD-SEED; `prepare` is done once and shared. With
`--keep FILE` finished figures go into a small file, and the table shows every row and random seed in it: so it grows
over days and machines. Every figure is a mIoU over the training split with image labels given; the threshold of the
CAMs is chosen on the masks, the pseudo-masks use the recipe's own. A row of a refiner gives what its score maps reach
in place of the CAMs. "saliency alone" takes the class from plain CAM's argmax and the extent from saliency > 0.5, no
training: what a method that reads saliency has to beat. `--networks` trains the recipe's segmentation network as well
and scores it on the validation split.
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
from kept_figures import Figures, KeptFigures, recipe_hash

from wsseg_cli.data.images import read_saliency
from wsseg_cli.data.index import read_index
from wsseg_cli.data.stores import ScoreStore, checked_mask
from wsseg_cli.metrics import Confusion
from wsseg_cli.recipe import loading
from wsseg_cli.types import ClassNames

SALIENCY = "saliency"
"""The row of no method: plain CAM's classes inside the salient area."""


class Row(NamedTuple):
    """A line of a table.

    `saliency`: its data set needs a saliency folder; `settings`: what differs from its recipe; `after`: the row whose
    classifier it refines.
    """

    title: str
    recipe: str
    saliency: bool = False
    settings: tuple[str, ...] = ()
    after: str | None = None


class Table(NamedTuple):
    """The rows of a table by the names of their folders, and what all of them share."""

    caption: str
    rows: dict[str, Row]
    train: str = "train"
    val: str = "val"
    settings: tuple[str, ...] = ()


TOY = {
    "cam": Row("plain CAM", "quickstart"),
    "cam_800": Row("plain CAM, 800 steps", "quickstart", settings=("train_cls.max_steps=800",)),
    "seam": Row("SEAM", "quickstart_seam"),
    "sccam": Row("SC-CAM", "quickstart_sccam"),
    "ppc_seam": Row("PPC on SEAM", "quickstart_ppc_seam"),
    "eps": Row("EPS (I+S)", "quickstart_eps"),
    "ppc_eps": Row("PPC on EPS (I+S)", "quickstart_ppc"),
    "onestage": Row("single stage", "quickstart_onestage"),
    "toco": Row("ToCo", "quickstart_toco"),
    "puzzlecam": Row("PuzzleCAM", "quickstart_puzzlecam"),
    "recam": Row("ReCAM", "quickstart_recam"),
    "rsepm": Row("RecurSeed + EdgePredictMix (reconstructed)", "quickstart_rsepm"),
}
PHOTOS = {
    "cam": Row("plain CAM", "cam_voc_lite"),
    "seam": Row("SEAM", "seam_voc_lite"),
    "sccam": Row("SC-CAM", "sccam_voc_lite"),
    "eps": Row("EPS (I+S)", "eps_voc_lite", True),
    "ppc_eps": Row("PPC on EPS (I+S)", "ppc_eps_voc_lite", True),
    "onestage": Row("single stage", "onestage_voc_lite"),
    "rsepm": Row("RecurSeed + EdgePredictMix (reconstructed)", "rsepm_voc_lite"),
}
SEAM = ("train_cls.method.name=seam", "train_cls.method.options.view_scale=0.75")
# At stride 8 a step takes eight times one of plain CAM: as many of them here as on the 223 photos of PHOTOS.
PSA = ("refine.train.epochs=4",)
# Equal steps are not equal work: beside a method that sees an image n times stands CAM with n times the epochs.
VOC = {
    "cam": Row("plain CAM", "cam_voc_lite"),
    "cam_x2": Row("plain CAM, twice the passes", "cam_voc_lite", settings=("train_cls.epochs=16",)),
    "cam_x3": Row("plain CAM, three times the passes", "cam_voc_lite", settings=("train_cls.epochs=24",)),
    "seam": Row("SEAM (2 passes)", "seam_voc_lite"),
    "sccam": Row("SC-CAM (3 trainings)", "sccam_voc_lite"),
    "puzzlecam": Row("PuzzleCAM (2 passes)", "puzzlecam_voc_lite"),
    "recam": Row("ReCAM", "recam_voc_lite"),
    "ppc_seam": Row("PPC on SEAM (2 passes)", "ppc_seam_voc_lite"),
    "eps": Row("EPS (I+S)", "eps_voc_lite", True),
    "ppc_eps": Row("PPC on EPS (I+S, 2 passes)", "ppc_eps_voc_lite", True),
    "onestage": Row("single stage (twice the epochs)", "onestage_voc_lite"),
    "rsepm": Row("RecurSeed + EdgePredictMix (reconstructed; twice the epochs)", "rsepm_voc_lite"),
    "psa": Row("CAM + AffinityNet's walk (4 epochs)", "psa_voc_lite", settings=PSA, after="cam"),
    "irn": Row("CAM + IRN's walk", "irn_voc_lite", after="cam"),
    "psa_seam": Row("SEAM + AffinityNet's walk (4 epochs)", "psa_voc_lite", settings=(*SEAM, *PSA), after="seam"),
    "irn_seam": Row("SEAM + IRN's walk", "irn_voc_lite", settings=SEAM, after="seam"),
}
TABLES = {
    "toy": Table("toy scenes", TOY),
    "photos": Table("real photos", PHOTOS),
    "voc": Table(
        "VOC photos, train_mini",
        VOC,
        train="train_mini",
        val="val_mini",
        settings=(
            "dataset.train=train_mini",
            "dataset.val=val_mini",
            "dataset.score=train_mini",
            "dataset.options.masks=SegmentationClassAug",
        ),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", choices=list(TABLES))
    parser.add_argument("--methods", nargs="+", help="rows, by the names that their folders have; default: all")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, help="folder of the runs; default: runs/TABLE_table")
    parser.add_argument(
        "--write", type=Path, nargs="+", default=[], help="put the table between its marks in these files"
    )
    parser.add_argument("--keep", type=Path, help="file of finished figures; they are not made again")
    parser.add_argument("--networks", action="store_true", help="train and score the segmentation networks, too")
    arguments = parser.parse_args()
    table = TABLES[arguments.table]
    methods = arguments.methods or list(table.rows)
    if unknown := [method for method in methods if method not in table.rows]:
        parser.error(f"no row {unknown[0]!r}; there are: {', '.join(table.rows)}")
    out = arguments.out or Path(f"runs/{arguments.table}_table")
    kept = KeptFigures(arguments.keep)
    for method in methods:
        for seed in arguments.seeds:
            made = kept_or_made(kept, table, method, seed, out, arguments.networks)
            print(f"{method} random seed {seed}: {made}", file=sys.stderr, flush=True)
    text = "\n".join(lines_of(table, kept, arguments.networks))
    print(text)
    for path in arguments.write:
        write_between_marks(path, f"{arguments.table} table", text)


def kept_or_made(kept: KeptFigures, table: Table, method: str, seed: int, out: Path, networks: bool) -> Figures:
    """Return the figures of one row and seed, made now unless they are kept."""
    recipe = recipe_hash(table.rows[method].recipe, settings_of(table, method, seed))
    found = kept.get(method, seed, recipe)
    networks = networks and loading.load(table.rows[method].recipe).recipe.train_seg is not None
    if found is None or (networks and "seg" not in found):
        found = figures(table, method, seed, out, networks)
        kept.put(method, seed, recipe, found)
    plain, salient = (out / f"{name}-{seed}" for name in ("cam", "eps"))
    if method == "eps" and (plain / "cam" / "done.json").is_file() and (salient / "prepare").is_dir():
        kept.put(SALIENCY, seed, "", {"cam": saliency_alone(plain, salient, table)})
    return found


def lines_of(table: Table, kept: KeptFigures, networks: bool) -> list[str]:
    """Return the table in Markdown: the rows that have figures."""
    columns = {"cam": "CAM (initial seed)", "pseudo": "pseudo-masks (CRF)"}
    if networks:
        columns["seg"] = f"network, {table.val}"
    columns["minutes"] = "minutes"
    titles = {name: row.title for name, row in table.rows.items()} | {SALIENCY: "saliency alone (S)"}
    order = [*list(titles)[:1], SALIENCY, *list(titles)[1:-1]]
    seeds = {name: kept.seeds(name) for name in order if kept.seeds(name)}
    same = len({tuple(of_row) for name, of_row in seeds.items() if name != SALIENCY}) == 1
    said = f", {random_seeds(next(iter(seeds.values())))}" if same else ""
    lines = [f"| {table.caption}{said} | {' | '.join(columns.values())} |", "|---" * (len(columns) + 1) + "|"]
    for name, of_row in seeds.items():
        of_which = "" if same or name == SALIENCY else f" ({random_seeds(of_row)})"
        cells = (spread(kept.all(name, key)) for key in columns)
        lines.append(f"| {titles[name]}{of_which} | {' | '.join(cells)} |")
    return lines


def random_seeds(seeds: list[int]) -> str:
    return f"random seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"


def settings_of(table: Table, method: str, seed: int) -> list[str]:
    """Return the `--set`s of a row."""
    return [f"seed={seed}", *table.settings, *table.rows[method].settings]


def figures(table: Table, method: str, seed: int, out: Path, networks: bool) -> Figures:
    """Train, compute and evaluate one row and seed; return its mIoUs and the minutes up to the score maps."""
    row, run = table.rows[method], out / f"{method}-{seed}"
    settings = [word for setting in settings_of(table, method, seed) for word in ("--set", setting)]
    common = ["--recipe", row.recipe, "--run", str(run), *settings, "--quiet"]
    maps = "cam" if row.after is None else "refine"
    if row.after is not None:
        copy_once(out / f"{row.after}-{seed}" / "train-cls", run / "train-cls")
    with share_prepare(out / ("prepare-saliency" if row.saliency else "prepare"), run):
        wsseg(["run", "--to", "pseudo", *common])
    reached = {}
    for key, what in (("cam", maps), ("pseudo", "pseudo")):
        wsseg(["eval", "--what", what, "--split", table.train, *common])
        reached[key] = miou(run, what, table.train)
    if networks:
        wsseg(["train-seg", *common])
        wsseg(["eval", "--what", "seg", "--split", table.val, *common])
        reached["seg"] = miou(run, "seg", table.val)
    stages = ["train-cls", "cam"] if row.after is None else ["train-cls", "cam", "refine"]
    seconds = [json.loads((run / stage / "done.json").read_text(encoding="utf-8"))["seconds"] for stage in stages]
    return reached | {"minutes": sum(seconds) / 60}


def miou(run: Path, what: str, split: str) -> float:
    return float(json.loads((run / f"eval/{what}-{split}.json").read_text(encoding="utf-8"))["miou"])


@contextmanager
def share_prepare(shared: Path, run: Path) -> Iterator[None]:
    """Give a run what another one prepared; the first to come prepares it for all."""
    copy_once(shared, run / "prepare")
    yield
    copy_once(run / "prepare", shared)


def copy_once(source: Path, target: Path) -> None:
    if source.is_dir() and not target.is_dir():
        shutil.copytree(source, target)


def wsseg(words: list[str]) -> None:
    subprocess.run([sys.executable, "-m", "wsseg_cli", *words], check=True, stdout=subprocess.DEVNULL)


def saliency_alone(cam: Path, with_saliency: Path, table: Table) -> float:
    """Return the mIoU of plain CAM's class inside the salient area; the maps' paths come from another run's index."""
    index = read_index(with_saliency / "prepare")
    store = ScoreStore(cam / "cam")
    confusion = Confusion(len(index.classes))
    for sample in index.samples(table.train):
        scores = store[sample.image_id]
        salient = read_saliency(sample.extras["saliency"]) > 127
        assert sample.mask is not None
        prediction = np.zeros(salient.shape, np.uint8)
        if len(scores.classes):
            best = scores.classes[scores.full(0.0)[1:].argmax(axis=0)]
            prediction[salient] = ClassNames.mask_value(best)[salient]
        confusion.add(checked_mask(sample.mask, index.classes), prediction, image_id=sample.image_id)
    return 100 * confusion.mean_iou()


def spread(values: list[float]) -> str:
    """Return "mean ± half the range" of a row, the value where there is one, or "-"."""
    if not values:
        return "-"
    half = (max(values) - min(values)) / 2
    return f"{statistics.mean(values):.1f}" + (f" ± {half:.1f}" if len(values) > 1 else "")


def write_between_marks(path: Path, name: str, table: str) -> None:
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    path.write_text(before + begin + "\n" + table + "\n" + end + rest.split(end)[1], encoding="utf-8")


if __name__ == "__main__":
    main()
