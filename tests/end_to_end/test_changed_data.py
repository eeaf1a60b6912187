"""Every file of every layout: changed after `prepare`, the next `prepare` names it; back again, all is well."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from end_to_end.layouts import LAYOUTS
from wsseg_cli.main import app


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_a_changed_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name.startswith("huggingface"):
        pytest.importorskip("datasets")
    monkeypatch.chdir(tmp_path)
    layout = LAYOUTS[name](tmp_path / "data")
    Path("r.yaml").write_text(layout.recipe())
    words = ["prepare", "--recipe", "r.yaml", "--run", "run", "-q"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    for file in layout.files.values():
        content, before = file.read_bytes(), file.stat()
        file.write_bytes(content + b"\n")
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 5, (file, done.output)
        assert f"1 file has changed: {file.relative_to(tmp_path / 'data')}" in done.stderr
        file.unlink()
        done = CliRunner().invoke(app, words)
        assert done.exit_code == 5 and f"1 file is gone: {file.relative_to(tmp_path / 'data')}" in done.stderr
        file.write_bytes(content)
        assert file.stat().st_mtime_ns != before.st_mtime_ns
        assert "up to date" in CliRunner().invoke(app, words).stdout
