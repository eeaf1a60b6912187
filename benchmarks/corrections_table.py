"""What correcting masks is worth on the toy scenes, and whether a ranking finds better photos to correct than chance.

    python benchmarks/corrections_table.py                     runs in runs/corrections_table, random seeds 0 1 2
    python benchmarks/corrections_table.py --seeds 0 --steps 100 --write docs/correct.md

The quickstart up to its pseudo-masks and a first network; then, for each ranking of `wsseg rank` and for a drawn order,
networks after the first few photos of it got their true mask, which plays the human. A cell is the
network's mIoU on val. What is finished is kept beside its run and not made again. Nothing is chosen on val.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

from method_table import share_prepare, spread, write_between_marks, wsseg

from wsseg_cli.data.index import Index, read_index
from wsseg_cli.data.stores import MaskStore
from wsseg_cli.disk.writing import write_text

RANKINGS = {"random": "drawn", "margin": "margin", "entropy": "entropy", "disagreement": "disagreement"}
"""The orders in which photos are corrected, and how a row names them."""
MOST = 40
"""Photos of each order that are kept: no more can be corrected."""
REPEAT = 4
"""How many times as often a corrected photo is learnt from; set before any figure was seen."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--counts", nargs="+", type=int, default=[5, 10, 20, 40], help="numbers of corrected masks")
    parser.add_argument("--steps", type=int, default=350, help="steps of each network; the recipe's are 350")
    parser.add_argument("--out", type=Path, default=Path("runs/corrections_table"))
    parser.add_argument("--write", type=Path, help="put the table between its marks in this file")
    arguments = parser.parse_args()
    if not 0 < min(arguments.counts) <= max(arguments.counts) <= MOST:
        parser.error(f"--counts: expected numbers from 1 to {MOST}")
    reached: dict[tuple[str, int], list[float]] = {}
    for seed in arguments.seeds:
        run = arguments.out / f"cam-{seed}-{arguments.steps}"
        settings = ["--set", f"seed={seed}", "--set", f"train_seg.max_steps={arguments.steps}"]
        common = ["--recipe", "quickstart", "--run", str(run), *settings, "--quiet"]
        first, orders = begun(run, arguments.out / "prepare", common, seed)
        index = read_index(run / "prepare")
        for ranking, order in orders.items():
            reached.setdefault((ranking, 0), []).append(first)
            for count in arguments.counts:
                figure = corrected(run, index, ranking, order[:count], common)
                reached.setdefault((ranking, count), []).append(figure)
                print(f"seed {seed}, {ranking} {count}: {figure:.1f}", file=sys.stderr, flush=True)
    text = "\n".join(table(reached, arguments.seeds, arguments.steps, [0, *arguments.counts]))
    print(text)
    if arguments.write:
        write_between_marks(arguments.write, "corrections table", text)


def begun(run: Path, prepare: Path, common: list[str], seed: int) -> tuple[float, dict[str, list[str]]]:
    """Return the network's mIoU before any correction, and the order of each ranking by that run."""
    kept = run / "orders.json"
    if not kept.is_file():
        with share_prepare(prepare, run):
            wsseg(["run", "--to", "train-seg", *common])
        wsseg(["eval", "--what", "seg", *common])
        orders = {ranking: listed(run, ranking) for ranking in RANKINGS if ranking != "random"}
        drawn = sorted(sample.image_id for sample in read_index(run / "prepare").samples("train"))
        random.Random(seed).shuffle(drawn)
        found = {"miou": miou(run), "orders": {"random": drawn[:MOST]} | orders}
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


def corrected(run: Path, index: Index, ranking: str, image_ids: list[str], common: list[str]) -> float:
    """Return the network's mIoU on val after these images got their true mask."""
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
        wsseg(["eval", "--what", "seg", "--split", "val", *common, *settings])
        write_text(kept, (run / "eval" / "seg-val.json").read_text(encoding="utf-8"))
    return float(json.loads(kept.read_text(encoding="utf-8"))["miou"])


def miou(run: Path) -> float:
    return float(json.loads((run / "eval" / "seg-val.json").read_text(encoding="utf-8"))["miou"])


def table(reached: dict[tuple[str, int], list[float]], seeds: list[int], steps: int, counts: list[int]) -> list[str]:
    said = f"random seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}; networks of {steps} steps"
    lines = [
        f"| toy scenes, {said} | {' | '.join(f'{count} corrected' for count in counts)} |",
        "|---" * (len(counts) + 1) + "|",
    ]
    for ranking, title in RANKINGS.items():
        lines.append(f"| {title} | {' | '.join(spread(reached[ranking, count]) for count in counts)} |")
    return lines


if __name__ == "__main__":
    main()
