"""Experiments on VOC photos: what a method's maps gain or lose where one setting differs from its recipe.

    VOC_ROOT=… VOC_SALIENCY=… python benchmarks/voc_experiments.py cam cam_crop    # rows by name; default: all
    VOC_ROOT=… python benchmarks/voc_experiments.py cam --keep benchmarks/figures/voc_experiments.json

Each trains on train_mini with `--seeds` and gives the mIoU of its CAMs (initial seeds) on every seventh photo of that
list, image labels given, at the threshold that is best on their masks. It resumes; finished figures stay in `--keep`.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kept_figures import Figures, KeptFigures, recipe_hash
from method_table import TABLES, miou, share_prepare, spread, write_between_marks, wsseg

EVERY = 7
SPLIT = "every_seventh"


class Experiment(NamedTuple):
    """A recipe and what differs from it; script: it trains by this script, `wsseg` with one part replaced."""

    title: str
    recipe: str
    settings: tuple[str, ...] = ()
    script: str | None = None


def options(**values: object) -> tuple[str, ...]:
    """Return `--set`s of options of the method."""
    return tuple(f"train_cls.method.options.{name}={json.dumps(value)}" for name, value in values.items())


STRIDE_8 = {"output_stride": 8, "normalization": "tensorflow", "frozen": "conv5"}
RECURSION = ("train_cls.epochs=8", *options(recursion_epoch=4, mix=False))

EXPERIMENTS = {
    "cam": Experiment("plain CAM", "cam_voc_lite"),
    "cam_x2": Experiment("plain CAM, 16 epochs", "cam_voc_lite", ("train_cls.epochs=16",)),
    "cam_4": Experiment("plain CAM, 4 epochs", "cam_voc_lite", ("train_cls.epochs=4",)),
    "cam_crop": Experiment(
        "plain CAM, crops of 320 from 320 to 512",
        "cam_voc_lite",
        ("train_cls.augment.crop=320", "train_cls.augment.resize_long=[320, 512]"),
    ),
    "cam_frozen": Experiment(
        "plain CAM, backbone frozen",
        "cam_voc_lite",
        options(backbone_options={"output_stride": 16, "normalization": "tensorflow", "frozen": "whole"}),
    ),
    "cam_conv4": Experiment(
        "plain CAM, frozen up to conv4",
        "cam_voc_lite",
        options(backbone_options={"output_stride": 16, "normalization": "tensorflow", "frozen": "conv4"}),
    ),
    "cam_slow": Experiment(
        "plain CAM, a third of the rate in the backbone",
        "cam_voc_lite",
        ("train_cls.optim.lr=3.3e-5", *options(lr_multipliers=[1, 1, 300, 300])),
    ),
    "seam": Experiment("SEAM", "seam_voc_lite"),
    "seam_8": Experiment("SEAM at stride 8: 32 x 32 cells", "seam_voc_lite", options(backbone_options=STRIDE_8)),
    "puzzlecam": Experiment("PuzzleCAM", "puzzlecam_voc_lite"),
    "puzzlecam_cam": Experiment("PuzzleCAM, level: cam", "puzzlecam_voc_lite", options(level="cam")),
    "puzzlecam_tiles": Experiment(
        "PuzzleCAM without reconstruction, 4 epochs", "puzzlecam_voc_lite", ("train_cls.epochs=4", *options(alpha=0))
    ),
    "puzzlecam_whole": Experiment(
        "PuzzleCAM without the tiles' class loss, 4 epochs",
        "puzzlecam_voc_lite",
        ("train_cls.epochs=4", *options(tile_class=False)),
    ),
    "puzzlecam_512": Experiment(
        "PuzzleCAM, crops of 512: tiles of 16 x 16 cells, 2 epochs",
        "puzzlecam_voc_lite",
        ("train_cls.epochs=2", "train_cls.augment.crop=512", "train_cls.augment.resize_long=[384, 640]"),
    ),
    "sccam": Experiment("SC-CAM", "sccam_voc_lite"),
    "sccam_1": Experiment("SC-CAM, one round after the classifier", "sccam_voc_lite", options(rounds=1)),
    "sccam_1_shuffled": Experiment(
        "SC-CAM, one round, each class's clusters dealt out at random",
        "sccam_voc_lite",
        options(rounds=1),
        script="shuffled_clusters.py",
    ),
    "onestage": Experiment("single stage", "onestage_voc_lite"),
    "onestage_oracle": Experiment("single stage, true masks", "onestage_voc_lite", script="oracle.py"),
    "onestage_late": Experiment(
        "single stage, 12 of 16 epochs of warm-up", "onestage_voc_lite", options(warmup_epochs=12)
    ),
    "ppc_seam": Experiment("PPC on SEAM", "ppc_seam_voc_lite"),
    "ppc_seam_45": Experiment(
        "PPC on SEAM, background 0.45, the best threshold of SEAM's maps", "ppc_seam_voc_lite", options(background=0.45)
    ),
    "ppc_seam_off": Experiment("PPC on SEAM, contrast of weight 0", "ppc_seam_voc_lite", options(weight=0)),
    "rsepm": Experiment("RecurSeed, 4 epochs and 4 of recursion", "rsepm_voc_lite", RECURSION),
    "rsepm_decoder": Experiment(
        "RecurSeed without reconstruction, 4 epochs and 4 of recursion",
        "rsepm_voc_lite",
        RECURSION + options(reconstruction_weight=0),
    ),
    "rsepm_oracle": Experiment(
        "RecurSeed, true masks, 4 epochs and 4 of recursion", "rsepm_voc_lite", RECURSION, script="oracle.py"
    ),
    "rsepm_strict": Experiment(
        "RecurSeed, stricter targets, 4 epochs and 4 of recursion",
        "rsepm_voc_lite",
        RECURSION + options(scg_first=0.7, scg_foreground=0.6, scg_background=0.3, certain=0.7, uncertain=0.3),
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=list(EXPERIMENTS), metavar="ROW")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=Path, default=Path("runs/voc_experiments"))
    parser.add_argument("--keep", type=Path, help="file of finished figures; they are not made again")
    parser.add_argument("--write", type=Path, help="put the table between its two marks in this file")
    arguments = parser.parse_args()
    if unknown := [row for row in arguments.rows if row not in EXPERIMENTS]:
        parser.error(f"no row {unknown[0]!r}; there are: {', '.join(EXPERIMENTS)}")
    kept = KeptFigures(arguments.keep)
    for row in arguments.rows:
        for seed in arguments.seeds:
            settings = [f"seed={seed}", *TABLES["voc"].settings, *EXPERIMENTS[row].settings]
            make = partial(figures, EXPERIMENTS[row], settings, arguments.out, arguments.out / f"{row}-{seed}")
            kept.or_made(row, seed, recipe_hash(EXPERIMENTS[row].recipe, settings), make)
    lines = ["| every seventh photo of train_mini (random seeds) | CAM (initial seed) |", "|---|---|"]
    lines += [
        f"| {experiment.title} ({', '.join(map(str, kept.seeds(row)))}) | {spread(kept.all(row, 'cam'))} |"
        for row, experiment in EXPERIMENTS.items()
        if kept.seeds(row)
    ]
    print("\n".join(lines))
    if arguments.write:
        write_between_marks(arguments.write, "voc experiments", "\n".join(lines))


def figures(experiment: Experiment, settings: list[str], out: Path, run: Path) -> Figures:
    """Train, compute and evaluate one experiment; return its mIoU and the minutes of training."""
    listed = every_seventh(out)
    scored = [f"dataset.score={SPLIT}", f'dataset.options.lists={{"{SPLIT}": {json.dumps(str(listed))}}}']
    words = [word for setting in [*settings, *scored] for word in ("--set", setting)]
    common = ["--recipe", experiment.recipe, "--run", str(run), *words, "--quiet"]
    with share_prepare(out / ("prepare-saliency" if "eps" in experiment.recipe else "prepare"), run):
        train = partial(by_script, experiment.script) if experiment.script else wsseg
        train(["run", "--to", "train-cls", *common])
    wsseg(["cam", "--split", SPLIT, *common])  # without a split also that of the training
    wsseg(["eval", "--what", "cam", "--split", SPLIT, *common])
    seconds = json.loads((run / "train-cls" / "done.json").read_text(encoding="utf-8"))["seconds"]
    return {"cam": miou(run, "cam", SPLIT), "minutes": seconds / 60}


def by_script(script: str, words: list[str]) -> None:
    path = Path(__file__).with_name(script)
    subprocess.run([sys.executable, str(path), *words], check=True, stdout=subprocess.DEVNULL)


def every_seventh(out: Path) -> Path:
    """Write the list of the photos that are scored."""
    ids = (Path(os.environ["VOC_ROOT"]) / "ImageSets/Segmentation/train_mini.txt").read_text(encoding="utf-8").split()
    listed = (out / f"{SPLIT}.txt").resolve()
    listed.parent.mkdir(parents=True, exist_ok=True)
    listed.write_text("\n".join(ids[::EVERY]) + "\n", encoding="utf-8")
    return listed


if __name__ == "__main__":
    main()
