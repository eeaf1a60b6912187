"""Damaged files by the thousand: each is read in a child process that is watched for time, memory and its life."""

from __future__ import annotations

import json
import os
import resource
import select
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hardening.hostile import hostile
from hardening.mutate import mutated
from hardening.readers import READERS

OUTCOMES = ("refused", "accepted", "traceback", "unnamed", "over 10 s", "over 1 GiB", "crash", "executed")
"""What may become of an input; the first two are as they should be. unnamed: a refusal that does not name the file."""
SECONDS, MEBIBYTES = 10.0, 1024
_KILLED_AFTER = 60.0
_MOST_MEMORY = 6 << 30
_TESTS = Path(__file__).resolve().parents[1]


@dataclass
class Tally:
    """What became of the inputs of one reader, and what those were that should not have."""

    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    slowest: float = 0.0
    largest: int = 0


def campaign(name: str, count: int, seed: str, keep: Path | None = None) -> Tally:
    """Read `count` damaged files with the reader `name`; `seed` and the number of an input give its damage.

    keep: a folder for the inputs that ended badly.
    """
    tally = Tally()
    with tempfile.TemporaryDirectory(prefix="hardening") as home:
        start = 0
        while start < count:
            for number, outcome, seconds, mebibytes, said in _child(name, seed, start, count, Path(home)):
                start = number + 1
                tally.counts[outcome] += 1
                tally.slowest, tally.largest = max(tally.slowest, seconds), max(tally.largest, mebibytes)
                if outcome not in OUTCOMES[:2]:
                    tally.bad.append(f"{name}, seed {seed}, input {number}: {outcome}: {said}")
                    if keep is not None:
                        keep.mkdir(parents=True, exist_ok=True)
                        file = Path(home) / "input"
                        if file.is_file():
                            (keep / f"{name.replace('/', '_')}-{seed}-{number}").write_bytes(file.read_bytes())
        if list(Path(home).rglob("owned")):
            tally.counts["executed"] += 1
            tally.bad.append(f"{name}, seed {seed}: something was executed")
    return tally


def _child(name: str, seed: str, start: int, count: int, home: Path) -> Iterator[tuple[int, str, float, int, str]]:
    """Yield the outcomes of one child process, until it is through or has to be ended."""
    command = [sys.executable, "-m", "hardening.campaign", name, seed, str(start), str(count), str(home)]
    path = os.pathsep.join([str(_TESTS), str(_TESTS.parent), str(_TESTS.parent / "plugins")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    with (
        (home / "stderr").open("wb") as errors,
        subprocess.Popen(command, bufsize=0, stdout=subprocess.PIPE, stderr=errors, env=environment, cwd=home) as child,
    ):
        assert child.stdout is not None
        number = start
        buffer = b""
        if child.stdout.readline() != b"ready\n":
            child.wait()
            raise RuntimeError(f"{name}: the whole file is not read\n{(home / 'stderr').read_text(errors='replace')}")
        while True:
            ready = select.select([child.stdout], [], [], _KILLED_AFTER if number > start else 300)[0]
            if not ready:
                child.kill()
                yield number, "over 10 s", _KILLED_AFTER, 0, f"killed after {_KILLED_AFTER:.0f} s"
                return
            data = os.read(child.stdout.fileno(), 1 << 16)
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                outcome, seconds, mebibytes, said = json.loads(line)
                yield number, outcome, seconds, mebibytes, said
                number += 1
        code = child.wait()
    if number < count:
        said = (home / "stderr").read_text(errors="replace").strip().splitlines()
        yield number, "crash", 0.0, 0, f"exit {code} {said[-1] if said else ''}"


def _peak() -> int:
    """Return the highest resident memory since `_forget_peak`, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) >> 10
    return 0


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def _main(name: str, seed: str, start: int, count: int, home: Path) -> None:
    import warnings

    from wsseg_cli.errors import WssegError

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    reader = READERS[name]
    folder = Path(tempfile.mkdtemp(dir=home))
    path, read = reader.make(folder)
    whole = path.read_bytes()
    read()
    special = list(hostile(path, reader.form))
    print("ready", file=out, flush=True)
    for number in range(start, count):
        rng = Random(f"{name} {seed} {number}")
        if path.is_symlink() or path.exists():
            _clear(path)
        if number < len(special):
            special[number](path)
        else:
            path.write_bytes(mutated(whole, reader.form, rng))
        if path.is_file() and not path.is_symlink():
            (home / "input").write_bytes(path.read_bytes())
        _forget_peak()
        begun = time.process_time()  # of this process alone: others may have the cores meanwhile
        said = ""
        try:
            read()
            outcome = "accepted"
        except WssegError as error:
            said = str(error)
            # of a list, the photo that it names is what is wrong: any file of the data set will do
            names = (path.name, path.stem, path.parent.name, str(folder), "list 'train")
            outcome = "refused" if any(part in said for part in names) else "unnamed"
        except BaseException:
            outcome, said = "traceback", " | ".join(traceback.format_exc().strip().splitlines()[-3:])
        seconds, mebibytes = time.process_time() - begun, _peak()
        if seconds > SECONDS:
            outcome = "over 10 s"
        elif mebibytes > MEBIBYTES:
            outcome = "over 1 GiB"
        print(json.dumps([outcome, seconds, mebibytes, said[:400]]), file=out, flush=True)


def _clear(path: Path) -> None:
    import shutil

    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def table(tallies: dict[str, Tally]) -> str:
    """Return the table of a campaign, a row a reader."""
    head = ["reader", "inputs", *OUTCOMES, "slowest", "most memory"]
    rows = [head]
    total: Counter[str] = Counter()
    for name, tally in tallies.items():
        total += tally.counts
        cells = [str(tally.counts[outcome]) for outcome in OUTCOMES]
        rows.append([name, str(tally.counts.total()), *cells, f"{tally.slowest:.1f} s", f"{tally.largest} MiB"])
    slowest = max((t.slowest for t in tallies.values()), default=0.0)
    largest = max((t.largest for t in tallies.values()), default=0)
    all_cells = [str(total[outcome]) for outcome in OUTCOMES]
    rows.append(["all", str(total.total()), *all_cells, f"{slowest:.1f} s", f"{largest} MiB"])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|--:" * (len(head) - 1) + "|")
    return "\n".join(lines)


if __name__ == "__main__":
    _main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))
