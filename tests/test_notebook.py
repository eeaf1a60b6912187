"""docs/demo.ipynb: its cells run, and put out what stands in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from shell import ROOT, environment

DEMO = ROOT / "docs" / "demo.ipynb"


def outputs(file: Path) -> list[Any]:
    """Return what each code cell puts out: words, with N for numbers; their last digits depend on the machine."""
    found = []
    for cell in json.loads(file.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            words = "".join(output.get("text", data.get("text/plain", [])))
            found.append((cell["execution_count"], sorted(data), re.sub(r"\d+(\.\d+)?", "N", words)))
    return found


@pytest.mark.slow
def test_cells_put_out_what_is_shown(tmp_path: Path) -> None:
    written = tmp_path / "demo.ipynb"
    command = [sys.executable, str(ROOT / "docs" / "notebook.py"), str(written)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert outputs(written) == outputs(DEMO), "run `python docs/notebook.py`"


def test_is_small_and_executed() -> None:
    notebook = json.loads(DEMO.read_text(encoding="utf-8"))
    assert DEMO.stat().st_size < 500_000
    assert notebook["nbformat"] == 4 and len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert any("image/png" in output.get("data", {}) for cell in code for output in cell["outputs"])
