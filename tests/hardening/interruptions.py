"""Runs that are killed, or whose file operations fail: afterwards the same command brings the same bytes."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from random import Random

from end_to_end.toy_run import environment

from hardening.forks import PATHS, Forks, seconds_of
from hardening.pipelines import PIPELINES, write_pipeline
from hardening.shim import KINDS, build, variables

_SLOWEST = 600.0
_REAL_ONES = 10
"""Every tenth trial starts real processes; the others are forked from one that has imported torch."""
_TIMED = ("done.json", "stage.json", "report.html", "wsseg.log")
"""Files that say when or how long: that they are there is compared, not their bytes."""


class Command:
    """`wsseg run` on a recipe, in a process group of its own: forked, or a real process."""

    def __init__(self, forks: Forks | None, recipe: Path, more: Mapping[str, str]) -> None:
        """forks: where it is forked; None: a real process. more: environment variables."""
        self._said = recipe.parent / "stderr"
        self._said.unlink(missing_ok=True)
        self._forks = forks
        self._process: subprocess.Popen[bytes] | None = None
        words = ["run", "--recipe", str(recipe)]
        if forks is not None:
            forks.call(
                "hardening.interruptions:run_wsseg", words, cwd=str(recipe.parent), env=dict(more), err=str(self._said)
            )
            self.pid = forks.pid
            return
        with self._said.open("wb") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "wsseg_cli", *words],
                cwd=recipe.parent,
                env=environment() | {"PYTHONPATH": os.pathsep.join(PATHS)} | more,
                start_new_session=True,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        self.pid = self._process.pid

    def wait(self, seconds: float = _SLOWEST) -> int | None:
        """Return the exit code, None if it still runs after so many seconds."""
        if self._process is None:
            assert self._forks is not None
            return self._forks.wait(seconds)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill_after(self, seconds: float, alone: bool) -> bool:
        """Kill it with its group, or alone, when it has had so many seconds of the processor; False if it ended."""
        while self.wait(0.002) is None:
            if seconds_of(self.pid) >= seconds:
                self.kill(alone)
                return True
        return False

    def kill(self, alone: bool = False) -> None:
        """Kill it with its group, or alone."""
        if self._process is None:
            assert self._forks is not None
            self._forks.end(alone)
        else:
            (os.kill if alone else os.killpg)(self.pid, signal.SIGKILL)
            self._process.wait()

    @property
    def said(self) -> str:
        """What stands in its stderr."""
        return self._said.read_text(errors="replace")


class Runs:
    """For each pipeline an unbroken run to compare with, made once; and places for runs to hurt."""

    def __init__(self, home: Path, library: Path | None) -> None:
        self.home = home
        self.preload = {} if library is None else {"LD_PRELOAD": str(library)}
        self.forks = Forks(["hardening.preload"], home / "server", environment() | self.preload)
        self.want: dict[str, dict[str, str]] = {}
        self.operations: dict[str, list[str]] = {}
        self.seconds: dict[tuple[str, bool], float] = {}

    def fresh(self, pipeline: str) -> Path:
        """Return the recipe of a pipeline in an empty folder, the same for all trials: runs hold paths."""
        folder = self.home / "hurt"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return write_pipeline(folder, pipeline, workers=PIPELINES.index(pipeline) % 2)

    def start(self, recipe: Path, real: bool, more: Mapping[str, str] | None = None) -> Command:
        """Start the command, forked or as a real process."""
        return Command(None if real else self.forks, recipe, (self.preload if real else {}) | (more or {}))

    def need(self, pipeline: str, real: bool) -> None:
        """Make the unbroken run of a pipeline, if that was not done; note what it takes, its files and operations."""
        if (pipeline, real) in self.seconds:
            return
        recipe = self.fresh(pipeline)
        listed = self.home / "operations"
        listed.unlink(missing_ok=True)
        whole = self.start(recipe, real, variables("list", 0, recipe.parent, listed))
        used = 0.0
        while (code := whole.wait(0.02)) is None:
            used = max(used, seconds_of(whole.pid))
        if code:
            raise RuntimeError(f"{pipeline}: the unbroken run ends with {code}\n{whole.said}")
        self.seconds[pipeline, real] = used
        self.want.setdefault(pipeline, results(recipe.parent))
        if self.preload:
            self.operations[pipeline] = listed.read_text().splitlines()

    def judge(self, pipeline: str, recipe: Path, real: bool, said: list[str]) -> list[str]:
        """Run to the end; return what of the promises does not hold. said: stderr of the commands before."""
        begun = time.monotonic()
        again = self.start(recipe, real)
        used, code = 0.0, None
        while time.monotonic() - begun < _SLOWEST and (code := again.wait(0.05)) is None:
            used = max(used, seconds_of(again.pid))
        if code is None:
            again.kill()
        problems = [] if code == 0 else [f"the same command: exit {code}: {again.said.strip().splitlines()[-1:]}"]
        if time.monotonic() - begun > 60 + 50 * used:  # of others, who share the processor, nothing is known
            problems.append("waited for a minute")
        texts = [*said, again.said]
        problems += [f"traceback: {text.strip().splitlines()[-1]}" for text in texts if "Traceback" in text]
        got, want = results(recipe.parent), self.want[pipeline]
        problems += [f"left over: {name}" for name in sorted(got.keys() - want.keys())]
        problems += [f"missing: {name}" for name in sorted(want.keys() - got.keys())]
        both = sorted(want.keys() & got.keys())
        return problems + [f"other bytes: {name}" for name in both if got[name] != want[name]]


def results(folder: Path) -> dict[str, str]:
    """Return the hash of every file below the run, by name."""
    found = {}
    for path in sorted((folder / "runs").rglob("*")):
        if path.is_file() or path.is_symlink():
            data = b"" if path.name in _TIMED else path.read_bytes()
            found[path.relative_to(folder).as_posix()] = hashlib.sha256(data).hexdigest()
    return found


Trial = Callable[[Runs, str, Path, bool, Random], tuple[str, list[str]]]
"""(runs, pipeline, recipe, real process, random numbers) -> (what happened, stderr of its commands)."""


def _trials(count: int, seed: str, trial: Trial, library: Path | None) -> tuple[list[str], list[str]]:
    """Return lines of a table, and what was not as promised."""
    counts: dict[str, Counter[str]] = {}
    bad: list[str] = []
    with tempfile.TemporaryDirectory(prefix="hardening") as home:
        runs = Runs(Path(home), library)
        with runs.forks, suppress(KeyboardInterrupt):  # Ctrl-C: the table of what was tried until then
            for number in range(count):
                kind, problems = _tried(runs, number, seed, trial)
                counts.setdefault(kind, Counter()).update(["trials", *{text.partition(":")[0] for text, _ in problems}])
                bad += [line for _, line in problems]
                if number % 20 == 19:
                    print(f"{number + 1} of {count} tried, {len(bad)} problems", file=sys.stderr, flush=True)
    return _table(counts), bad


def _tried(runs: Runs, number: int, seed: str, trial: Trial) -> tuple[str, list[tuple[str, str]]]:
    """Return what happened to a run, and what was not as promised: in short, and with seed and trial."""
    pipeline, real = PIPELINES[number % len(PIPELINES)], number % _REAL_ONES == 0
    runs.need(pipeline, real)
    recipe = runs.fresh(pipeline)
    what, said = trial(runs, pipeline, recipe, real, Random(f"{seed} {number}"))
    problems = runs.judge(pipeline, recipe, real, said)
    kind = f"{what.partition(',')[0]}{', real processes' if real else ''}"
    return kind, [(text, f"seed {seed}, trial {number}, {pipeline}, {what}: {text}") for text in problems]


_PROBLEMS = ("the same command", "traceback", "waited for a minute", "left over", "missing", "other bytes")


def _table(counts: Mapping[str, Counter[str]]) -> list[str]:
    head = ["what", "trials", *_PROBLEMS]
    head[2] = "the same command failed"
    total: Counter[str] = Counter()
    rows: list[list[str]] = []
    for name, found in sorted(counts.items()):
        total += found
        rows.append([name, *(str(found[key]) for key in ("trials", *_PROBLEMS))])
    rows.append(["all", *(str(total[key]) for key in ("trials", *_PROBLEMS))])
    lines = ["| " + " | ".join(row) + " |" for row in [head, *rows]]
    return [lines[0], "|---" + "|--:" * (len(head) - 1) + "|", *lines[1:]]


def kills(count: int, seed: str) -> tuple[list[str], list[str]]:
    """Kill `count` runs at random moments, some twice, the whole group or the first process alone."""

    def trial(runs: Runs, pipeline: str, recipe: Path, real: bool, rng: Random) -> tuple[str, list[str]]:
        said, happened = [], False
        for _ in range(rng.choice([1, 1, 2])):
            alone = rng.random() < 0.3
            command = runs.start(recipe, real)
            happened |= command.kill_after(rng.uniform(0, runs.seconds[pipeline, real]), alone)
            said.append(command.said)
        return "killed" if happened else "ended before", said

    return _trials(count, seed, trial, None)


def faults(count: int, seed: str) -> tuple[list[str], list[str]]:
    """Let one file operation of each of `count` runs fail, come short, or kill the process."""
    with tempfile.TemporaryDirectory(prefix="faults") as folder:
        library = build(Path(folder))
        if library is None:
            return ["skipped: there is no C compiler"], []

        def trial(runs: Runs, pipeline: str, recipe: Path, real: bool, rng: Random) -> tuple[str, list[str]]:
            kind = rng.choice(KINDS)
            mark = runs.home / "happened"
            mark.unlink(missing_ok=True)
            writes = [n for n, name in enumerate(runs.operations[pipeline], 1) if name.startswith(("write", "pwrite"))]
            place = rng.choice(writes) if kind == "short" else rng.randrange(len(runs.operations[pipeline])) + 1
            command = runs.start(recipe, real, variables(kind, place, recipe.parent, mark))
            code = command.wait()
            said = command.said
            what = f"{kind if mark.exists() else 'nothing happened'}, operation {place}"
            what += f" ({mark.read_text().strip()})" if mark.exists() else ""
            if code and code > 0 and "error" not in said:
                said += "Traceback of nothing: it ended without a word"
            return f"{what}, exit {code}", [said]

        return _trials(count, seed, trial, library)


def run_wsseg(words: list[str]) -> None:
    """Run a command in this process, a child of the fork server."""
    from wsseg_cli.main import main

    sys.argv = ["wsseg", *words]
    main()


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
