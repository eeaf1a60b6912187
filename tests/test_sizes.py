"""No file reaches 300 lines; ruff holds the complexity of functions (`max-complexity` in pyproject.toml)."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LIMIT = 300
LONGER = {"tests/hardening/readers.py"}


@pytest.mark.parametrize("folder", ["wsseg_cli", "plugins", "tests", "benchmarks", "docs"])
def test_files_are_short(folder: str) -> None:
    files = {file.relative_to(ROOT).as_posix(): file for file in (ROOT / folder).rglob("*.py")}
    lengths = {name: len(file.read_text("utf-8").splitlines()) for name, file in files.items() if name not in LONGER}
    assert lengths and {name: count for name, count in lengths.items() if count >= LIMIT} == {}
