"""Damaged files by the thousand: each is read in a child process that is watched for time, memory and its life."""

from __future__ import annotations

import os
import resource
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from hardening.forks import Forks, say
from hardening.hostile import hostile
from hardening.mutate import mutated
from hardening.readers import READERS

OUTCOMES = ("refused", "accepted", "traceback", "unnamed", "over 10 s", "over 1 GiB", "crash", "executed")
"""What may become of an input; the first two are as they should be. unnamed: a refusal that does not name the file."""
SECONDS, MEBIBYTES = 10.0, 1024
_KILLED_AFTER = 60.0
_MOST_MEMORY = 6 << 30


@dataclass
class Tally:
    """What became of the inputs of one reader, and what those were that should not have."""

    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    seconds: float = 0.0
    slowest: float = 0.0
    largest: int = 0


def campaign(counts: Mapping[str, int], seed: str, keep: Path | None = None) -> Iterator[tuple[str, Tally]]:
    """Read damaged files, so many with each reader, and yield what became of them, reader by reader.

    `seed` and the number of an input give its damage.

    keep: a folder for the inputs that ended badly.
    """
    with tempfile.TemporaryDirectory(prefix="hardening") as home, _server(Path(home)) as forks:
        for name, count in counts.items():
            folder = Path(home) / "reader"
            folder.mkdir()
            yield name, _one_reader(forks, name, count, seed, folder, keep)
            shutil.rmtree(folder)


def _server(home: Path) -> Forks:
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    return Forks(["hardening.preload", "hardening.campaign"], home / "server", environment)


def _one_reader(forks: Forks, name: str, count: int, seed: str, home: Path, keep: Path | None) -> Tally:
    tally = Tally()
    start = 0
    while start < count:
        for number, outcome, seconds, mebibytes, said in _child(forks, name, seed, start, count, home):
            start = number + 1
            tally.counts[outcome] += 1
            tally.seconds += seconds
            tally.slowest, tally.largest = max(tally.slowest, seconds), max(tally.largest, mebibytes)
            if outcome not in OUTCOMES[:2]:
                tally.bad.append(f"{name}, seed {seed}, input {number}: {outcome}: {said}")
                if keep is not None and (home / f"input{number}").is_file():
                    keep.mkdir(parents=True, exist_ok=True)
                    shutil.move(home / f"input{number}", keep / f"{name.replace('/', '_')}-{seed}-{number}")
    if list(home.rglob("owned")):
        tally.counts["executed"] += 1
        tally.bad.append(f"{name}, seed {seed}: something was executed")
    return tally


def _child(
    forks: Forks, name: str, seed: str, start: int, count: int, home: Path
) -> Iterator[tuple[int, str, float, int, str]]:
    """Yield the outcomes of one child process, until it is through or has to be ended."""
    errors = home / "stderr"
    forks.call("hardening.campaign:read_damaged", name, seed, start, count, str(home), cwd=str(home), err=str(errors))
    number, ready = start, False
    for said in forks.says(_KILLED_AFTER):
        if isinstance(said, list):
            outcome, seconds, mebibytes, words = said
            yield number, outcome, seconds, mebibytes, words
            number += 1
        elif said == "ready":
            ready = True
        elif not ready:
            raise RuntimeError(f"{name}: the whole file is not read\n{errors.read_text(errors='replace')}")
        elif said is None:
            yield number, "over 10 s", _KILLED_AFTER, 0, f"killed after {_KILLED_AFTER:.0f} s"
        elif number < count:
            lines = errors.read_text(errors="replace").strip().splitlines()
            yield number, "crash", 0.0, 0, f"exit {said} {lines[-1] if lines else ''}"


def _peak() -> int:
    """Return the highest resident memory since `_forget_peak`, in MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) >> 10
    return 0


def _forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5")


def read_damaged(name: str, seed: str, start: int, count: int, place: str) -> None:
    """Read the inputs `start` to `count` in this process, a child of the fork server, and say what became of each."""
    import warnings

    from wsseg_cli.errors import WssegError

    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
    home = Path(place)
    reader = READERS[name]
    folder = Path(tempfile.mkdtemp(dir=home))
    path, read = reader.make(folder)
    whole = path.read_bytes()
    read()
    special = list(hostile(path, reader.form))
    say("ready")
    for number in range(start, count):
        rng = Random(f"{name} {seed} {number}")
        if path.is_symlink() or path.exists():
            _clear(path)
        if number < len(special):
            special[number](path)
        else:
            path.write_bytes(mutated(whole, reader.form, rng))
        copy = home / f"input{number}"
        if path.is_file() and not path.is_symlink():
            shutil.copyfile(path, copy)
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
        if outcome in OUTCOMES[:2]:
            copy.unlink(missing_ok=True)
        say([outcome, seconds, mebibytes, said[:400]])


def _clear(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def table(tallies: dict[str, Tally]) -> str:
    """Return the table of a campaign, a row a reader."""
    head = ["reader", "inputs", *OUTCOMES, "all together", "slowest", "most memory"]
    all_of = Tally()
    for tally in tallies.values():
        all_of.counts += tally.counts
        all_of.seconds += tally.seconds
        all_of.slowest, all_of.largest = max(all_of.slowest, tally.slowest), max(all_of.largest, tally.largest)
    rows = [head]
    for name, tally in [*tallies.items(), ("all", all_of)]:
        cells = [str(tally.counts[outcome]) for outcome in OUTCOMES]
        used = [f"{tally.seconds:.0f} s", f"{tally.slowest:.1f} s", f"{tally.largest} MiB"]
        rows.append([name, str(sum(tally.counts.values()) - tally.counts["executed"]), *cells, *used])
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---" + "|--:" * (len(head) - 1) + "|")
    return "\n".join(lines)
