"""What correcting masks is worth, and whether a ranking finds better photos to correct than chance.

    python benchmarks/corrections_table.py toy --write docs/correct.md      toy scenes, random seeds 0 1 2
    VOC_ROOT=… python benchmarks/corrections_table.py voc --seeds 0 --steps 200 --write docs/correct.md

A recipe of plain CAM up to its pseudo-masks and a first network; then, for each ranking of `wsseg rank` and for a drawn
order, networks after the first few photos of it got their true mask, which plays the human. A cell is the network's
mIoU on the validation split. Runs are in runs/corrections_table; those of `method_table.py` up to the pseudo-masks are
taken over. What is finished is kept beside its run and not made again. Nothing is chosen on the validation split.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from method_table import TABLES, Table, copy_once, miou, share_prepare, spread, write_between_marks, wsseg

from wsseg_cli.data.index import Index, read_index
from wsseg_cli.data.stores import MaskStore
from wsseg_cli.disk.writing import write_text


class Data(NamedTuple):
    """Where masks are corrected: the caption of the table, the recipe, and the steps of each network."""

    caption: str
    recipe: str
    steps: int


DATA = {
    "toy": Data("toy scenes", "quickstart", 350),
    "voc": Data("VOC photos, train_mini and val_mini", "cam_voc_lite", 880),
}
"""By the names that `method_table.py` gives the same data; steps are the recipe's, rounded."""
RANKINGS = {"random": "drawn", "margin": "margin", "entropy": "entropy", "disagreement": "disagreement"}
"""The orders in which photos are corrected, and how a row names them."""
MOST = 40
"""Photos of each order that are kept: no more can be corrected."""
REPEAT = 4
"""How many times as often a corrected photo is learnt from; set before any figure was seen."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=list(DATA))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--counts", nargs="+", type=int, default=[5, 10, 20, 40], help="numbers of corrected masks")
    parser.add_argument("--steps", type=int, help="steps of each network; default: about the recipe's")
    parser.add_argument("--out", type=Path, default=Path("runs/corrections_table"))
    parser.add_argument("--write", type=Path, help="put the table between its marks in this file")
    arguments = parser.parse_args()
    if not 0 < min(arguments.counts) <= max(arguments.counts) <= MOST:
        parser.error(f"--counts: expected numbers from 1 to {MOST}")
    data, of_methods = DATA[arguments.data], TABLES[arguments.data]
    steps = arguments.steps or data.steps
    reached: dict[tuple[str, int], list[float]] = {}
    for seed in arguments.seeds:
        run = arguments.out / f"{arguments.data}-{seed}-{steps}"
        asked = [f"seed={seed}", "train_seg.epochs=null", f"train_seg.max_steps={steps}", *of_methods.settings]
        settings = [word for setting in asked for word in ("--set", setting)]
        common = ["--recipe", data.recipe, "--run", str(run), *settings, "--quiet"]
        copy_once(Path(f"runs/{arguments.data}_table/cam-{seed}"), run)
        first, orders = begun(run, arguments.out / f"prepare-{arguments.data}", common, of_methods, seed)
        index = read_index(run / "prepare")
        for ranking, order in orders.items():
            reached.setdefault((ranking, 0), []).append(first)
            for count in arguments.counts:
                figure = corrected(run, index, ranking, order[:count], common, of_methods.val)
                reached.setdefault((ranking, count), []).append(figure)
                print(f"seed {seed}, {ranking} {count}: {figure:.1f}", file=sys.stderr, flush=True)
    seeds = f"random seed{'s' if len(arguments.seeds) > 1 else ''} {', '.join(map(str, arguments.seeds))}"
    caption = f"{data.caption}, {seeds}; networks of {steps} steps"
    text = "\n".join(table(reached, caption, [0, *arguments.counts]))
    print(text)
    if arguments.write:
        write_between_marks(arguments.write, f"{arguments.data} corrections", text)


def begun(
    run: Path, prepare: Path, common: list[str], of_methods: Table, seed: int
) -> tuple[float, dict[str, list[str]]]:
    """Return the network's mIoU before any correction, and the order of each ranking by that run."""
    kept = run / "orders.json"
    if not kept.is_file():
        with share_prepare(prepare, run):
            wsseg(["run", "--to", "train-seg", *common])
        wsseg(["eval", "--what", "seg", *common])
        orders = {ranking: listed(run, ranking) for ranking in RANKINGS if ranking != "random"}
        drawn = sorted(sample.image_id for sample in read_index(run / "prepare").samples(of_methods.train))
        random.Random(seed).shuffle(drawn)
        found = {"miou": miou(run, "seg", of_methods.val), "orders": {"random": drawn[:MOST]} | orders}
        write_text(kept, json.dumps(found, indent=1))
    data = json.loads(kept.read_text(encoding="utf-8"))
    return data["miou"], data["orders"]


def listed(run: Path, ranking: str) -> list[str]:
    """Return the ids of the first photos of a ranking."""
    words = ["rank", str(run), "--by", ranking, "--top", str(MOST), "--list"]
    done = subprocess.run(
        [sys.executable, "-m", "wsseg_cli", *words], check=True, stdout=subprocess.PIPE, encoding="utf-8"
    )
    return done.stdout.split()


def corrected(run: Path, index: Index, ranking: str, image_ids: list[str], common: list[str], val: str) -> float:
    """Return the network's mIoU on the validation split after these images got their true mask."""
    name = f"{ranking}-{len(image_ids)}"
    kept = run / "corrected" / f"{name}.json"
    if not kept.is_file():
        hand = run / "corrected" / name
        hand.mkdir(parents=True, exist_ok=True)
        for image_id in image_ids:
            truth = index.entries[image_id].sample.mask
            assert truth is not None
            shutil.copyfile(truth, MaskStore(hand).path(image_id))
        asked = ["masks=corrected", f"corrected={hand}", f"repeat_corrected={REPEAT}"]
        settings = [word for text in asked for word in ("--set", f"train_seg.{text}")]
        wsseg(["train-seg", "--force", *common, *settings])
        wsseg(["eval", "--what", "seg", "--split", val, *common, *settings])
        write_text(kept, (run / "eval" / f"seg-{val}.json").read_text(encoding="utf-8"))
    return float(json.loads(kept.read_text(encoding="utf-8"))["miou"])


def table(reached: dict[tuple[str, int], list[float]], caption: str, counts: list[int]) -> list[str]:
    lines = [
        f"| {caption} | {' | '.join(f'{count} corrected' for count in counts)} |",
        "|---" * (len(counts) + 1) + "|",
    ]
    for ranking, title in RANKINGS.items():
        lines.append(f"| {title} | {' | '.join(spread(reached[ranking, count]) for count in counts)} |")
    return lines


if __name__ == "__main__":
    main()
