"""Every script under benchmarks/ finds what it imports; what it measures is run by hand."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.parametrize("script", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda path: path.stem)
def test_imports(script: Path) -> None:
    path = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "plugins"), str(ROOT / "tests")]
    code = f"import sys, runpy; sys.path[:0] = {path!r}; runpy.run_path({str(script)!r}, run_name='imported')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
