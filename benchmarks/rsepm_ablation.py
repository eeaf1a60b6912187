"""The ablation of RecurSeed + EdgePredictMix on the toy scenes: what each part adds, mean and spread over seeds.

    python benchmarks/rsepm_ablation.py                  every row, seeds 0 1 2; goes on where it was stopped
    python benchmarks/rsepm_ablation.py --rows cam mix --seeds 0
    python benchmarks/rsepm_ablation.py --write docs/methods.md

Each row has all that the rows above it have; the first is the same network with the class loss alone. "+ SCG" spreads
that network's maps and trains nothing. Runs lie with those of `method_table.py toy`, whose row of the full method is
used. Every figure is of the 240 training scenes with image labels given, at the threshold that is best on their masks:
mIoU, and the mean over foreground classes of false positives and of false negatives, in percent of the union.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

from method_table import share_prepare, spread, write_between_marks
from wsseg_rsepm.method import RecurSeedEPM, RecurSeedOptions
from wsseg_rsepm.net import RsepmNet

from wsseg_cli.data.images import read_image
from wsseg_cli.data.index import read_index
from wsseg_cli.data.stores import checked_mask
from wsseg_cli.engine import checkpoint
from wsseg_cli.metrics import ThresholdCurve
from wsseg_cli.settings import InferSettings
from wsseg_cli.stages.plugins import trained

RECIPE = "quickstart_rsepm"
ROWS: dict[str, tuple[str, dict[str, Any] | None]] = {
    "cam": ("CAM of the same network", {"recursion": False, "mix": False, "maps": "cam"}),
    "scg": ("+ SCG", None),
    "recursion": ("+ recursion", {"certain_filter": False, "mix": False}),
    "filter": ("+ certain filter", {"mix": False}),
    "mix": ("+ mix (the method)", {}),
}
FIGURES = "miou", "over", "under"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=Path("runs/toy_table"))
    parser.add_argument("--write", type=Path, help="put the table between its two marks in this file")
    arguments = parser.parse_args()
    seeds = ", ".join(map(str, arguments.seeds))
    lines = [
        f"| toy scenes, random seeds {seeds} | CAM (initial seed) | false positives | false negatives |",
        "|---|---|---|---|",
    ]
    for row in arguments.rows:
        found: dict[str, list[float]] = {name: [] for name in FIGURES}
        for seed in arguments.seeds:
            figures = spread_maps(arguments.out, seed) if row == "scg" else reached(arguments.out, row, seed)
            print(f"{row} seed {seed}: {figures}", file=sys.stderr, flush=True)
            for name in FIGURES:
                found[name].append(figures[name])
        lines.append(f"| {ROWS[row][0]} | " + " | ".join(spread(found[name]) for name in FIGURES) + " |")
    table = "\n".join(lines)
    print(table)
    if arguments.write:
        write_between_marks(arguments.write, "rsepm ablation", table)


def reached(out: Path, row: str, seed: int) -> dict[str, float]:
    """Train, compute and evaluate one row and seed."""
    run = out / (f"rsepm-{seed}" if row == "mix" else f"rsepm_{row}-{seed}")
    values = {f"train_cls.method.options.{name}": json.dumps(value) for name, value in (ROWS[row][1] or {}).items()}
    settings = [word for name, value in (values | {"seed": str(seed)}).items() for word in ("--set", f"{name}={value}")]
    for words in (["run", "--to", "cam"], ["eval", "--what", "cam", "--split", "train"]):
        command = [sys.executable, "-m", "wsseg_cli", *words, "--recipe", RECIPE, "--run", str(run), *settings]
        with share_prepare(out / "prepare", run):
            subprocess.run([*command, "--quiet"], check=True, stdout=subprocess.DEVNULL)
    record = json.loads((run / "eval/cam-train.json").read_text(encoding="utf-8"))
    point = min(record["curve"], key=lambda p: abs(p["threshold"] - record["threshold"]["value"]))
    return {"miou": record["miou"], "over": 100 * point["over"], "under": 100 * point["under"]}


def spread_maps(out: Path, seed: int) -> dict[str, float]:
    """Evaluate the maps of the first row's network after self-correlation."""
    reached(out, "cam", seed)
    run = out / f"rsepm_cam-{seed}"
    index, file = read_index(run / "prepare"), run / "train-cls" / checkpoint.MODEL
    options = checkpoint.read_header(file)["options"] | {"maps": "scg"}
    method = RecurSeedEPM(RecurSeedOptions.model_validate_json(json.dumps(options)), index.classes)
    model = cast(RsepmNet, trained(method, file, "cpu"))
    asks = json.loads((run / "cam/stage.json").read_text(encoding="utf-8"))["asks"]
    infer = InferSettings(scales=tuple(asks["cam.infer.scales"]), flip=asks["cam.infer.flip"])
    record = json.loads((run / "eval/cam-train.json").read_text(encoding="utf-8"))
    curve = ThresholdCurve([point["threshold"] for point in record["curve"]], len(index.classes))
    for sample in index.samples("train"):
        assert sample.mask is not None
        scores = method.scores(model, read_image(sample.image), sample.labels, infer)
        curve.add(checked_mask(sample.mask, index.classes), scores.classes, scores.full(0.0)[1:])
    best = curve.best()
    return {"miou": 100 * best.mean_iou, "over": 100 * best.false_positives, "under": 100 * best.false_negatives}


if __name__ == "__main__":
    main()
