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


def test_figures_are_kept_with_their_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    from kept_figures import KeptFigures

    kept = KeptFigures(tmp_path / "figures/toy.json")
    kept.put("cam", 1, "as it was", {"cam": 41.0, "minutes": 0.8})
    kept.put("cam", 0, "as it was", {"cam": 40.0})
    meanwhile = KeptFigures(kept.path)
    kept.put("seam", 0, "as it was", {"cam": 43.0})
    meanwhile.put("cam", 2, "as it was", {"cam": 42.0})
    again = KeptFigures(kept.path)
    assert again.get("seam", 0, "as it was") == {"cam": 43.0}
    assert again.get("cam", 1, "as it was") == {"cam": 41.0, "minutes": 0.8}
    assert again.get("cam", 1, "changed") is None
    assert again.get("seam", 1, "as it was") is None
    assert (again.seeds("cam"), again.all("cam", "cam"), again.all("cam", "minutes")) == (
        [0, 1, 2],
        [40.0, 41.0, 42.0],
        [0.8],
    )
