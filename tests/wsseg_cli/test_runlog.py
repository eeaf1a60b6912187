"""The log of a run: what each command was, how it ended, what it said; no result depends on it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from wsseg_cli import __version__, stages
from wsseg_cli import main as cli
from wsseg_cli.commands import stages as commands
from wsseg_cli.errors import DataError
from wsseg_cli.runlog import FILE, LOGGER, RunLog

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ \d+ (\w+) +(.*)")


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Return what the stages do: nothing but to raise `error`, if it is set, after the run's folder was made."""
    asked: dict[str, Any] = {"error": None}

    def stage(name: str, context: stages.Context, **options: Any) -> stages.Result:
        if not context.dry_run:
            context.run.path.mkdir(parents=True, exist_ok=True)
        if asked["error"]:
            raise asked["error"]
        return stages.Result(name, [f"{name} 3/3 größer", "two lines\nin one"])

    monkeypatch.setattr(commands, "run_stage", stage)
    return asked


def wsseg(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["wsseg", *words])
    return CliRunner().invoke(cli.app, list(words), prog_name="wsseg").exit_code


def said(run: Path) -> list[tuple[str, str]]:
    """Return word and text of every line of a run's log that begins one."""
    text = (run / FILE).read_text(encoding="utf-8")
    return [found.groups() for line in text.splitlines() if (found := LINE.fullmatch(line))]  # type: ignore[misc]


def test_each_command_with_its_line_version_and_exit_code(
    monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]
) -> None:
    assert wsseg(monkeypatch, "cam", "-r", "quickstart", "--run", "a run", "--set", "seed=1") == 0
    answers["error"] = DataError("photo 7 is broken")
    assert wsseg(monkeypatch, "eval", "-r", "quickstart", "--run", "a run") == 4
    lines = said(Path("a run"))
    python = ".".join(map(str, sys.version_info[:3]))
    first = f"wsseg {__version__}, Python {python}: wsseg cam -r quickstart --run 'a run' --set seed=1"
    assert [word for word, _ in lines] == ["start", "info", "info", "info", "end", "start", "error", "end"]
    assert lines[0][1] == first and lines[1][1] == "cam 3/3 größer" and lines[2][1] == "two lines"
    assert lines[5][1].endswith("wsseg eval -r quickstart --run 'a run'")
    assert lines[6] == ("error", "photo 7 is broken")
    assert [text.partition(" after ")[0] for word, text in lines if word == "end"] == ["exit code 0", "exit code 4"]
    assert "    in one\n" in Path("a run", FILE).read_text(encoding="utf-8")


def test_what_quiet_and_json_do_not_print_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wsseg(monkeypatch, "cam", "-r", "quickstart", "--run", "b", "--log-level", "error") == 0
    assert ("info", "cam 3/3 größer") in said(Path("b"))
    wsseg(monkeypatch, "cam", "-r", "quickstart", "--run", "c", "--json")
    assert [word for word, _ in said(Path("c"))] == ["start", "end"]


def test_a_bug_leaves_its_traceback(monkeypatch: pytest.MonkeyPatch, answers: dict[str, Any]) -> None:
    answers["error"] = ZeroDivisionError("a bug")
    assert wsseg(monkeypatch, "cam", "-r", "quickstart", "--run", "d") == 1
    assert "Traceback" in Path("d", FILE).read_text(encoding="utf-8")
    assert said(Path("d"))[-1][1].startswith("exit code 1")


def test_nothing_is_written_where_no_run_came_to_be(monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    assert wsseg(monkeypatch, "cam", "-r", "quickstart", "--dry-run") == 0
    assert wsseg(monkeypatch, "pseudo", "-r", "quickstart", "--use", "cam=none") == 5
    assert wsseg(monkeypatch, "run", "-r", "quickstart", "--from", "none") == 2
    assert list(here.iterdir()) == []
    assert not any(isinstance(handler, RunLog) for handler in LOGGER.handlers)


def test_a_log_that_cannot_be_written_spoils_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("e", FILE).mkdir(parents=True)
    assert wsseg(monkeypatch, "cam", "-r", "quickstart", "--run", "e") == 0


def test_the_others_of_a_torchrun_write_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert wsseg(monkeypatch, "cam", "-r", "quickstart", "--run", "f") == 0
    assert not Path("f", FILE).exists()
