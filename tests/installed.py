"""Somebody else's package, really installed with pip, and the command line with that package in sight."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

Wsseg = Callable[..., "subprocess.CompletedProcess[str]"]
"""Runs `wsseg WORDS …` in a process of its own."""


def install(source: Path, site: Path) -> Path:
    """Install the package in `source` into `site`, without a network; return `site`."""
    flags = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q"]
    command = [sys.executable, "-m", "pip", "install", *flags, "--target", str(site), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return site


def command_line(site: Path, folder: Path) -> Wsseg:
    """Return the function that runs the command line in `folder` with the packages of `site`."""
    path = os.pathsep.join([str(site), str(ROOT), str(ROOT / "plugins")])

    def call(*words: str) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "wsseg_cli", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment)

    return call
