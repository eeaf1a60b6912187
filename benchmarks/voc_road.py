"""Whole roads on VOC photos: from image labels of train_aug (or of train alone) to a network scored on all of val.

    VOC_ROOT=… python benchmarks/voc_road.py cam seam truth --keep benchmarks/figures/voc_road.json
    VOC_ROOT=… VOC_TRANSCAM=… python benchmarks/voc_road.py transcam truth_train

Every row trains the same segmentation network, from ImageNet weights: on pseudo-masks, on the true masks of the same
photos ("truth"), or on pseudo-masks of published quality (VOC_TRANSCAM, a folder of masks of the photos of train) and
the true ones beside them. Figures are mIoU: CAMs at their best threshold and pseudo-masks on the photos trained on,
the network on val. Each row takes hours; it resumes, and finished figures stay in `--keep`.
"""

from __future__ import annotations

import argparse
import json
import os
from functools import partial
from pathlib import Path
from typing import NamedTuple

from kept_figures import Figures, KeptFigures, recipe_hash
from method_table import miou, share_prepare, write_between_marks, wsseg

COMMON = ("dataset.options.masks=SegmentationClassAug", "dataset.val=val")
STAGES = "train-cls", "cam", "refine", "pseudo", "train-seg"


class Road(NamedTuple):
    """A recipe, and the split that it trains on; masks: the environment variable of a folder of pseudo-masks."""

    title: str
    recipe: str
    train: str = "train_aug"
    masks: str | None = None


ROADS = {
    "cam": Road("plain CAM", "cam_voc_lite"),
    "seam": Road("SEAM", "seam_voc_lite"),
    "eps": Road("EPS (I+S)", "eps_voc_lite"),
    "truth": Road("true masks of train_aug", "seg_voc_lite"),
    "cam_train": Road("plain CAM, photos of train", "cam_voc_lite", "train"),
    "transcam": Road("TransCAM's masks of train", "seg_voc_lite", "train", "VOC_TRANSCAM"),
    "truth_train": Road("true masks of train", "seg_voc_lite", "train"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rows", nargs="*", default=list(ROADS), metavar="ROW")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as `wsseg run` takes it")
    parser.add_argument("--out", type=Path, default=Path("runs/voc_road"))
    parser.add_argument("--keep", type=Path, help="file of finished figures; they are not made again")
    parser.add_argument("--write", type=Path, help="put the table between its two marks in this file")
    arguments = parser.parse_args()
    if unknown := [row for row in arguments.rows if row not in ROADS]:
        parser.error(f"no row {unknown[0]!r}; there are: {', '.join(ROADS)}")
    asked = {"VOC_ROOT", *(ROADS[row].masks or "VOC_ROOT" for row in arguments.rows)}
    if lacking := sorted(asked - set(os.environ)):
        parser.error(f"{lacking[0]} is not set")
    kept = KeptFigures(arguments.keep)
    for row in arguments.rows:
        settings = settings_of(ROADS[row], arguments.seed, arguments.set)
        make = partial(figures, ROADS[row], settings, arguments.out, arguments.out / f"{row}-{arguments.seed}")
        kept.or_made(row, arguments.seed, recipe_hash(ROADS[row].recipe, settings), make)
    text = "\n".join(lines_of(kept, arguments.seed))
    print(text)
    if arguments.write:
        write_between_marks(arguments.write, "voc road", text)


def settings_of(road: Road, seed: int, more: list[str]) -> list[str]:
    """Return the `--set`s of a row."""
    own = [f"seed={seed}", f"dataset.train={road.train}", *COMMON]
    if road.recipe.startswith("seg_"):
        return [*own, "dataset.score=val", *(["train_seg.masks=pseudo"] if road.masks else []), *more]
    # The recipes of methods start at their classifier; beside the truth only the masks may differ.
    return [*own, f"dataset.score={road.train}", "train_seg.weights=package", *more]


def figures(road: Road, settings: list[str], out: Path, run: Path) -> Figures:
    """Follow one road; return its mIoUs, that of all background, and the hours of its stages."""
    words = [word for setting in settings for word in ("--set", setting)]
    use = ["--use", f"pseudo={os.environ[road.masks]}"] if road.masks else []
    common = ["--recipe", road.recipe, "--run", str(run), *words, "--quiet"]
    with share_prepare(out / f"prepare-{road.recipe}-{road.train}", run):
        wsseg(["prepare", *common])
    reached: Figures = {}
    from_labels = not road.recipe.startswith("seg_")
    if from_labels:
        wsseg(["run", "--to", "pseudo", *common])
        for what in ("cam", "pseudo"):
            wsseg(["eval", "--what", what, "--split", road.train, *common])
            reached[what] = miou(run, what, road.train)
    wsseg(["train-seg", *use, *common])
    wsseg(["eval", "--what", "seg", "--split", "val", *common])
    record = json.loads((run / "eval/seg-val.json").read_text(encoding="utf-8"))
    reached |= {"seg": record["miou"], "background": record["all_background_miou"]}
    done = [run / stage / "done.json" for stage in STAGES]
    seconds = sum(json.loads(file.read_text(encoding="utf-8"))["seconds"] for file in done if file.is_file())
    return reached | {"hours": seconds / 3600}


def lines_of(kept: KeptFigures, seed: int) -> list[str]:
    """Return the table in Markdown: the rows that have figures, and all background."""
    columns = {"cam": "CAM (initial seed)", "pseudo": "pseudo-masks (CRF)", "seg": "network, val", "hours": "hours"}
    lines = [f"| VOC photos, random seed {seed} | {' | '.join(columns.values())} |", "|---" * 5 + "|"]
    background: list[float] = []
    for row, road in ROADS.items():
        if seed in kept.seeds(row):
            cells = ["; ".join(f"{value:.1f}" for value in kept.all(row, key)) or "-" for key in columns]
            lines.append(f"| {road.title} | {' | '.join(cells)} |")
            background = kept.all(row, "background")
    if background:
        lines.append(f"| all background | - | - | {background[0]:.1f} | - |")
    return lines


if __name__ == "__main__":
    main()
