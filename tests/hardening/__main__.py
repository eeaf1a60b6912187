"""The campaigns: `python -m tests.hardening --n 20000 --seed 1`; `--kills 200`, `--faults 200` for the others."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_ROOT / "tests"), str(_ROOT), str(_ROOT / "plugins")]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.hardening", description=__doc__)
    parser.add_argument("--n", type=int, default=0, help="damaged files, shared between the readers")
    parser.add_argument("--seed", default="0", help="any text; with the number of an input it gives the damage")
    parser.add_argument("--reader", action="append", help="this reader alone; repeatable")
    parser.add_argument("--kills", type=int, default=0, help="runs killed at random moments")
    parser.add_argument("--faults", type=int, default=0, help="file operations that fail, one a run")
    parser.add_argument("--keep", type=Path, help="folder for the inputs that end badly")
    parser.add_argument("--list", action="store_true", help="name the readers and end")
    asked = parser.parse_args()

    from hardening.campaign import OUTCOMES, campaign, table
    from hardening.readers import READERS

    if asked.list:
        print("\n".join(READERS))
        return 0
    names = asked.reader or list(READERS)
    bad: list[str] = []
    if asked.n:
        counts = {name: asked.n // len(names) + (place < asked.n % len(names)) for place, name in enumerate(names)}
        tallies = {}
        for name, tally in campaign(counts, asked.seed, asked.keep):
            tallies[name] = tally
            said = ", ".join(f"{tally.counts[o]} {o}" for o in OUTCOMES if tally.counts[o])
            print(f"{name}: {said} in {tally.seconds:.0f} s", file=sys.stderr, flush=True)
            bad += tally.bad
        print(table(tallies))
    if asked.kills or asked.faults:
        from hardening.interruptions import faults, kills

        for title, count, run in (("kills", asked.kills, kills), ("faults", asked.faults, faults)):
            if count:
                lines, failed = run(count, asked.seed)
                print("\n".join([f"{title}, seed {asked.seed}", "", *lines, ""]))
                bad += failed
    print("\n".join(bad), file=sys.stderr)
    return 1 if bad else 0


sys.exit(main())
