"""The wheel as it is installed: every package with its types, what the report and the scaffold read, the recipes."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.mark.slow
def test_the_wheel_is_whole(tmp_path: Path) -> None:
    flags = ["--no-index", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "-q"]
    command = [sys.executable, "-m", "pip", "wheel", *flags, "--wheel-dir", str(tmp_path), str(ROOT)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8")
    assert done.returncode == 0, done.stderr
    inside = set(zipfile.ZipFile(next(tmp_path.glob("wsseg-*.whl"))).namelist())
    ours = {path.parent.name for path in (ROOT / "plugins").glob("wsseg_*/__init__.py")} | {"wsseg_cli"}
    assert {name.split("/")[0] for name in inside if name.endswith("/py.typed")} == ours
    for folder, there in (("wsseg_cli/report", "report"), ("wsseg_cli/scaffold/templates", "scaffold/templates")):
        files = [path.name for path in (ROOT / "wsseg_cli" / there).iterdir() if path.is_file()]
        assert files and {f"{folder}/{name}" for name in files} <= inside
    recipes = {f"wsseg_cli/recipes/{path.name}" for path in (ROOT / "recipes").glob("*.yaml")}
    assert recipes and recipes <= inside
