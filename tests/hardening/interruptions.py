"""Runs that are killed, or whose file operations fail: afterwards the same command brings the same bytes."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from end_to_end.toy_run import command, environment, results, write_recipe

_SOURCE = Path(__file__).with_name("faults.c")
_KINDS = {"ENOSPC": errno.ENOSPC, "EIO": errno.EIO, "EDQUOT": errno.EDQUOT, "EROFS": errno.EROFS}
_SLOWEST = 600.0
Trial = tuple[list[str], list[str]]
"""Lines for people, and what was not as promised."""


class Runs:
    """A whole run to compare with, and copies of the same recipe to hurt."""

    def __init__(self, home: Path) -> None:
        self.home = home
        (home / "whole").mkdir()
        self.recipe = write_recipe(home / "whole")
        begun = time.monotonic()
        self.go(self.recipe)
        self.seconds = time.monotonic() - begun
        self.want = results(home / "whole" / "runs" / "tiny")

    def fresh(self) -> Path:
        """Return a recipe in an empty folder."""
        folder = self.home / "hurt"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return write_recipe(folder)

    def go(self, recipe: Path, **more: str) -> tuple[int, str]:
        """Run all stages; return exit code and what was said on stderr."""
        done = subprocess.run(
            command(recipe, "run"),
            cwd=recipe.parent,
            env=environment() | more,
            capture_output=True,
            text=True,
            timeout=_SLOWEST,
            start_new_session=True,
        )
        return done.returncode, done.stderr

    def judge(self, recipe: Path, said: list[str]) -> list[str]:
        """Run to the end; return what of the promises does not hold. said: stderr of the commands before."""
        code, stderr = self.go(recipe)
        problems = [] if code == 0 else [f"exit {code}: {stderr.strip().splitlines()[-1:]}"]
        if any("Traceback" in text for text in [*said, stderr]):
            problems.append("traceback")
        run = recipe.parent / "runs" / "tiny"
        if results(run) != self.want:
            problems.append("other results")
        left = [p.name for p in run.rglob("*") if p.name.endswith(".tmp") or p.name == "lock" or p.name[:5] == "step_"]
        return problems + [f"left over: {name}" for name in left]


def _trials(count: int, seed: str, trial: Callable[[Runs, Path, Random], tuple[str, list[str]]]) -> Trial:
    counts: Counter[str] = Counter()
    bad: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hardening") as home:
        runs = Runs(Path(home))
        for number in range(count):
            recipe = runs.fresh()
            what, said = trial(runs, recipe, Random(f"{seed} {number}"))
            problems = runs.judge(recipe, said)
            counts["as promised" if not problems else "not as promised"] += 1
            counts[what.partition(",")[0]] += 1
            bad += [f"seed {seed}, trial {number}, {what}: {problem}" for problem in problems]
    return [f"  {name}: {number}" for name, number in sorted(counts.items())], bad


def kills(count: int, seed: str) -> Trial:
    """Kill `count` runs at random moments, some twice, the whole group or the first process alone."""

    def trial(runs: Runs, recipe: Path, rng: Random) -> tuple[str, list[str]]:
        said = []
        for _ in range(rng.choice([1, 1, 2])):
            alone = rng.random() < 0.3
            with (recipe.parent / "stderr").open("w+") as errors:
                process = subprocess.Popen(
                    command(recipe, "run"),
                    cwd=recipe.parent,
                    env=environment(),
                    start_new_session=True,
                    stdout=subprocess.DEVNULL,
                    stderr=errors,
                )
                try:
                    process.wait(rng.uniform(0.3, runs.seconds))
                except subprocess.TimeoutExpired:
                    (os.kill if alone else os.killpg)(process.pid, signal.SIGKILL)
                process.wait()
                errors.seek(0)
                said.append(errors.read())
        return "killed", said

    return _trials(count, seed, trial)


def faults(count: int, seed: str) -> Trial:
    """Let one file operation of each of `count` runs fail, come short, or kill the process."""
    if shutil.which("cc") is None:
        return ["  skipped: there is no C compiler"], []
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        library = Path(folder) / "faults.so"
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(library), str(_SOURCE), "-ldl"], check=True)

        def trial(runs: Runs, recipe: Path, rng: Random) -> tuple[str, list[str]]:
            kind = rng.choice([*_KINDS, "short", "kill"])
            mark = recipe.parent / "happened"
            place = str(int(rng.choice([20, 200, 2000]) * rng.random()) + 1)
            code, stderr = runs.go(
                recipe,
                LD_PRELOAD=str(library),
                FAULT_ROOT=str(recipe.parent / "runs"),
                FAULT_AT=place,
                FAULT_KIND=str(_KINDS.get(kind, kind)),
                FAULT_MARK=str(mark),
            )
            what = kind if mark.exists() else "nothing happened"
            return f"{what}, operation {place}, exit {code}", [stderr]

        return _trials(count, seed, trial)


def orphans(session: int) -> Iterator[int]:
    """Yield the living processes of a session."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == session and fields[0] != "Z":
                yield int(entry.name)
