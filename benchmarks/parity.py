"""Write docs/parity.md: run every golden test and list, case by case, how far we are from the published code.

    python benchmarks/parity.py [--only TEXT] [--out FILE]

`--only` is pytest's `-k`, and prints the table instead of writing it. Numbers come from the comparisons that the tests
make, under the tolerances that the cases bring.
"""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "plugins"), str(ROOT / "tests"), str(ROOT / "benchmarks")]

from golden_cases import COMPARISONS, NOTES, WITNESSES, Comparison, golden_folder  # noqa: E402
from provenance import Provenance  # noqa: E402

HEAD = """# Parity with the published code

Written by `python benchmarks/parity.py`; do not edit.

Each case holds inputs and outputs of the published implementation, and a tolerance for each output; how outputs are
compared is in `tests/golden_cases.py`. Checkpoints of whole networks go through the public name maps
(`wsseg_cli/nets/weights.py`) before they are run; one of each family goes through a file and `wsseg convert weights`
(`tests/wsseg_cli/convert/test_weights_golden.py`). Filled weights let activations of deep networks grow to 1e6:
a difference means something only beside its bound. *Of bound* is the largest share that an element takes of what is
allowed for it; where some elements may differ, it is the share of elements within the bound.

*Through* is what gave the compared array: the entry point of a plugin or a function of a stage, seen at work while the
test ran; *inside* one, what the test kept of it on its way, such as a block's output; *backward*, the gradients of its
losses; *loss/network* where a test calls a loss, a layer or a helper by itself, or computes another number from what
came through. The `pipeline_*` cases go from the image to what the published script writes, and
`tests/plugins/test_pipeline_stages.py` runs the stages on them as well.

"""

INNER = (
    (
        *("clipes_background_labels", "IoU, accuracy", "`metrics.Confusion`"),
        "`eval` reads a run and a data set; the case has three stored maps",
    ),
    (
        *("clipes_name_map", "timm's names, half precision", "the name map, the network's types"),
        "the image tower alone is no CLIP, so `weights` refuses it; the recipe's precision is no output",
    ),
    (
        *("clipes_refined_map", "stored", "`masks.full_scores` in float16"),
        "`cam` stores the small map; it is `pseudo` that computes in the published float16",
    ),
    ("toco_par", "all", "`Method.par`", "masks in a step never have another size than the picture"),
    (
        *("toco_schedule", "adamw", "the engine's optimiser, schedule and step"),
        "three bare parameters, which no network has",
    ),
)
"""Outputs of the cases of CLIP-ES, SEPL and ToCo that no entry point takes: case, outputs, what is called, why."""

UNSEEN = """
The column *through* cannot see names, single numbers, learning rates, transforms and files: `toco_param_groups`,
`toco_schedule` and `toco_augment` go through the method's groups and transform and the engine's optimiser and schedule,
`sam_proposals` through `wsseg convert proposals`, `clipes_name_map` through that of weights and a recipe's `weights`.

"""


def inner() -> str:
    """Return the table of INNER."""
    said = "Of CLIP-ES, SEPL and ToCo every case goes through what a stage calls, except for these:"
    rows = [f"| {' | '.join(row)} |" for row in INNER]
    return "\n".join([said, "", "| case | output | called instead | why |", "|---|---|---|---|", *rows, UNSEEN])


ELSEWHERE = ("test_weights_golden", "test_pipeline_stages")
"""Tests that run a case a second time, through files and stages."""


class Watch:
    """Pytest plugin that keeps results and seconds by case, and the file of each case's test."""

    def __init__(self) -> None:
        self.provenance = Provenance()
        WITNESSES.append(self.provenance.of)
        NOTES.append(self.provenance.note)
        self.seconds: dict[str, float] = defaultdict(float)
        self.files: dict[str, str] = {}
        self.failed: set[str] = set()
        self.skipped: dict[str, str] = {}

    def pytest_runtest_setup(self) -> None:
        self.provenance.forget()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        case = report.nodeid.rpartition("[")[2].removesuffix("]")
        self.seconds[case] += report.duration
        if report.failed:
            self.failed.add(case)
        elif report.skipped:
            self.skipped[case] = str(report.longrepr[-1] if isinstance(report.longrepr, tuple) else report.longrepr)
        elif report.when == "call" and not any(name in report.nodeid for name in ELSEWHERE):
            self.files.setdefault(case, report.nodeid.partition("::")[0])


def table(watch: Watch, comparisons: list[Comparison], wall: float) -> str:
    """Return the document."""
    by_case: dict[str, dict[str, Comparison]] = defaultdict(dict)
    for found in comparisons:
        before = by_case[found.case].get(found.output)
        if before is None or found.used >= before.used:
            by_case[found.case][found.output] = found
    names = sorted({*by_case, *watch.failed, *watch.files})
    networks = [name for name in names if (golden_folder() / name / "state_dict.json").is_file()]
    seconds = sum(watch.seconds[name] for name in networks)
    size = sum(file.stat().st_size for name in names for file in (golden_folder() / name).rglob("*") if file.is_file())
    compared = [found for outputs in by_case.values() for found in outputs.values()]
    count, inside = len(compared), sum(found.through.startswith("inside ") for found in compared)
    through = sum(bool(found.through) for found in compared) - inside
    lines = [
        f"{len(names)} cases, {count} outputs, {len(watch.failed)} failing: {through} outputs came through an "
        f"entry point, {inside} from inside one at work, {count - through - inside} from a loss or a network. "
        f"{len(networks)} cases have a network's "
        f"checkpoint: they took {seconds:.0f} s of {wall:.0f} s ({platform.machine()}, one thread). The cases take "
        f"{size / 2**20:.0f} MiB of disk; checkpoints are made in memory, and the files of the conversions (up to "
        "0.5 GiB) are deleted by their tests.",
        "",
    ]
    for file in sorted(set(watch.files.values())):
        lines += [f"## {file}", ""]
        lines += [
            "| case | output | through | shape | largest difference | allowed | of bound |",
            "|---|---|---|---|---|---|---|",
        ]
        for name in (name for name in names if watch.files.get(name) == file):
            lines += rows(name, by_case[name])
        lines.append("")
    for word, found in (("Failing", sorted(watch.failed)), ("Skipped", sorted(set(watch.skipped) - set(by_case)))):
        if found:
            lines += [f"## {word}", "", *[f"- {name}" for name in found], ""]
    return HEAD + inner() + "\n".join(lines).rstrip("\n") + "\n"


def rows(case: str, outputs: dict[str, Comparison]) -> list[str]:
    """Return the lines of a case; outputs without any difference share one."""
    equal: dict[str, list[str]] = defaultdict(list)
    for c in outputs.values():
        if c.largest == 0:
            equal[c.through].append(c.output)
    lines = []
    for c in (c for c in outputs.values() if c.largest > 0):
        shape = "x".join(map(str, c.shape)) or "1"
        used = f"{c.agree:.3%} within" if "of the elements" in c.bound else f"{c.used:.1%}"
        used = "< 0.1%" if used == "0.0%" else used
        through = c.through or "loss/network"
        lines.append(f"| {case} | {c.output} | {through} | {shape} | {c.largest:.3g} | {c.bound} | {used} |")
    for through, names in equal.items():
        lines.append(f"| {case} | {', '.join(names)} | {through or 'loss/network'} | | 0 | | |")
    return lines or [f"| {case} | compared by the test itself | loss/network | | 0 | | |"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of cases or tests, as pytest's -k")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "parity.md")
    asked = parser.parse_args()
    watch = Watch()
    words = [
        "-q",
        "-m",
        "golden",
        "--rootdir",
        str(ROOT),
        str(ROOT / "tests"),
        f"--ignore={ROOT / 'tests' / 'plugins' / 'test_pipeline_stages.py'}",
        *(["-k", asked.only] if asked.only else []),
    ]
    begun = time.monotonic()
    code = pytest.main(words, plugins=[watch])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        return int(code)
    text = table(watch, COMPARISONS, time.monotonic() - begun)
    if asked.only:
        print(text)
    else:
        asked.out.write_text(text, encoding="utf-8")
        print(asked.out)
    return int(code)


if __name__ == "__main__":
    raise SystemExit(main())
