"""How long the commands take that need no network: wall clock, medians of seven, beside importing torch alone.

python benchmarks/startup.py
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

WORDS = (
    ["--help"],
    ["recipes", "list"],
    ["plugins", "list"],
    ["doctor"],
    ["cam", "-r", "quickstart", "--set", "cam.infr=1"],
)


def seconds(*command: str) -> float:
    measured = []
    for _ in range(7):
        start = time.perf_counter()
        subprocess.run([sys.executable, *command], capture_output=True, check=False)
        measured.append(time.perf_counter() - start)
    return statistics.median(measured)


def main() -> None:
    for words in WORDS:
        print(f"{seconds('-m', 'wsseg_cli', *words):6.2f} s  wsseg {' '.join(words)}")
    print(f"{seconds('-c', 'import torch'):6.2f} s  import torch")


if __name__ == "__main__":
    main()
