from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from wsseg_cli import main as cli
from wsseg_cli import stages
from wsseg_cli.commands import stages as commands
from wsseg_cli.errors import CheckpointError, DataError, StageError, TrainingError, WssegError

ROOT = Path(__file__).resolve().parents[2]
STAGES = ["prepare", "train-cls", "cam", "refine", "pseudo", "train-seg", "eval"]
WORDS = [[], *[[name] for name in [*STAGES, "run", "status", "doctor", "predict", "report", "backbones"]]]
WORDS += [["export", "onnx"], ["export", "hub"], ["export", "voc-server"]]
WORDS += [["convert", name] for name in ("weights", "labels", "cams", "masks")]
WORDS += [["weights", name] for name in ("list", "get", "add", "where")]
WORDS += [["recipes", name] for name in ("list", "show", "copy", "check")] + [
    ["plugins", name] for name in ("list", "show", "new")
]


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def wsseg(*words: str) -> Any:
    return CliRunner().invoke(cli.app, list(words), prog_name="wsseg", env={"COLUMNS": "120"})


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_every_help_has_an_example(words: list[str]) -> None:
    done = wsseg(*words, "--help")
    assert done.exit_code == 0
    assert f"Example: wsseg {' '.join(words)}".strip() in done.stdout


def test_version() -> None:
    assert wsseg("--version").stdout.startswith("wsseg 0.")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["cam"], 2, "Missing option '--recipe' / '-r', or '--run'"),
        (["cam", "--run", "none"], 2, "none is not a run: it holds no recipe.yaml"),
        (["cam", "-r", "quickstart", "--spilt", "val"], 2, "--split"),
        (["camm"], 2, "cam"),
        (["cam", "-r", "quikstart"], 2, "did you mean 'quickstart'"),
        (["cam", "-r", "quickstart", "--set", "cam.infr=1"], 2, "did you mean 'infer'"),
        (["refine", "-r", "quickstart"], 2, "no section refine"),
        (["pseudo", "-r", "quickstart", "--use", "cam"], 2, "expected STAGE=DIR"),
        (["pseudo", "-r", "quickstart", "--use", "camm=x"], 2, "expected STAGE=DIR"),
        (["pseudo", "-r", "quickstart", "--use", "cam=none"], 5, "no such folder"),
        (["run", "-r", "quickstart", "--from", "refine"], 5, "--from refine"),
        (["run", "-r", "quickstart", "--from", "eval", "--to", "cam"], 5, "comes after"),
        (["status", "runs/none"], 2, "is not a run"),
        (["status"], 2, "no run under runs/"),
        (["plugins", "show", "epz"], 3, "no plugin 'epz'"),
        (["plugins", "show", "cam", "--group", "metods"], 2, "did you mean 'methods'"),
        (["recipes", "show", "nothing"], 2, "no recipe 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_what_cannot_be_followed(words: list[str], code: int, message: str) -> None:
    done = wsseg(*words)
    assert done.exit_code == code, done.output
    assert message in done.stderr and done.stdout == ""
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("error", [StageError, DataError, CheckpointError, TrainingError])
def test_exit_codes(monkeypatch: pytest.MonkeyPatch, error: type[WssegError]) -> None:
    def fails(name: str, context: stages.Context, **options: Any) -> stages.Result:
        raise error("what, where\n  and next")

    monkeypatch.setattr(commands, "run_stage", fails)
    done = wsseg("cam", "-r", "quickstart")
    assert (done.exit_code, done.stderr) == (error.exit_code, "error: what, where\n  and next\n")


def test_interrupted_says_how_to_go_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def stops(name: str, context: stages.Context, **options: Any) -> stages.Result:
        raise KeyboardInterrupt

    monkeypatch.setattr(commands, "run_stage", stops)
    monkeypatch.setattr(sys, "argv", ["wsseg", "cam", "-r", "quickstart"])
    done = wsseg("cam", "-r", "quickstart")
    assert done.exit_code == 130 and "wsseg cam -r quickstart" in done.stderr


def test_a_full_disk_is_said_and_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    number = errno.ENOSPC

    def fails(name: str, context: stages.Context, **options: Any) -> stages.Result:
        raise OSError(number, os.strerror(number), "a.png")

    monkeypatch.setattr(commands, "run_stage", fails)
    done = wsseg("cam", "-r", "quickstart")
    assert done.exit_code == 1 and "disk is full at a.png" in done.stderr
    number = errno.EIO
    done = wsseg("cam", "-r", "quickstart")
    assert done.exit_code == 1 and f"the system says: {os.strerror(number)} at a.png" in done.stderr
    monkeypatch.setattr(commands, "run_stage", lambda *_, **__: 1 / 0)
    assert isinstance(wsseg("cam", "-r", "quickstart").exception, ZeroDivisionError)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    def done(name: str, context: stages.Context, **options: Any) -> stages.Result:
        return stages.Result(name, [f"{name} 3/3"], {"images": 3})

    monkeypatch.setattr(commands, "run_stage", done)


@pytest.mark.usefixtures("pretended")
def test_results_on_stdout_the_rest_on_stderr() -> None:
    done = wsseg("cam", "-r", "quickstart", "--set", "seed=1")
    assert done.stdout == "cam 3/3\n"
    assert done.stderr == "Next: wsseg pseudo --recipe quickstart --set seed=1\n"
    assert wsseg("cam", "-r", "quickstart", "--quiet").stderr == ""
    assert wsseg("cam", "-r", "quickstart", "--split", "val").stderr.endswith("--split val\n")
    assert wsseg("eval", "-r", "quickstart").stderr == "Next: wsseg status runs/quickstart\n"
    done = wsseg("cam", "-r", "quickstart", "--json", "--run", "here")
    data = json.loads(done.stdout)
    assert data == {"schema_version": 1, "stage": "cam", "run": "here", "skipped": False, "images": 3}
    assert done.stderr == ""


@pytest.mark.usefixtures("pretended")
def test_only_the_first_of_a_torchrun_speaks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert wsseg("cam", "-r", "quickstart").output == ""
    assert "error in process 1:" in wsseg("cam", "-r", "none").stderr


def test_dry_run_writes_nothing(here: Path) -> None:
    done = wsseg("run", "-r", "quickstart", "--dry-run")
    assert done.exit_code == 0 and "prepare would run" in done.stdout
    assert list(here.iterdir()) == []


def test_recipes(here: Path) -> None:
    rows = json.loads(wsseg("recipes", "list", "--json").stdout)["recipes"]
    card = next(row for row in rows if row["name"] == "quickstart")
    assert (card["method"], card["supervision"], card["needs"]) == ("cam", "I", [])
    assert "\nquickstart " in wsseg("recipes", "list").stdout
    card = next(row for row in rows if row["name"] == "eps_voc")
    assert (card["needs"], card["weights"]) == (
        ["VOC_ROOT", "VOC_SALIENCY"],
        ["resnet38_imagenet", "resnet101_deeplab_init"],
    )
    done = wsseg("recipes", "copy", "quickstart", "my.yaml")
    assert done.exit_code == 0 and done.stdout == "my.yaml\n"
    shown = wsseg("recipes", "show", "quickstart").stdout
    assert shown.replace("\nname: quickstart\n", "\nname: my\n") == Path("my.yaml").read_text(encoding="utf-8") != shown
    assert wsseg("recipes", "copy", "quickstart", "my.yaml").exit_code == 2
    assert wsseg("recipes", "copy", "quickstart", "my.yaml", "--force").exit_code == 0
    assert wsseg("recipes", "copy", "quickstart", "my.txt").exit_code == 2
    assert wsseg("recipes", "check", "my.yaml").stdout == "my.yaml is valid\n"


def test_recipes_check_fails_with_two(here: Path) -> None:
    wsseg("recipes", "copy", "quickstart", "my.yaml")
    done = wsseg("recipes", "check", "my.yaml", "--set", "seed=x", "--set", "train_cls.method.options.dropot=0.1")
    assert done.exit_code == 2
    assert "seed: must be a whole number" in done.stderr and "did you mean 'dropout'" in done.stderr
    Path("bad.yaml").write_text("a: !x 1", encoding="utf-8")
    done = wsseg("recipes", "check", "my.yaml", "bad.yaml", "--json")
    assert done.exit_code == 2
    assert [bool(row["problems"]) for row in json.loads(done.stdout)["recipes"]] == [False, True]


def test_plugins_list_and_show() -> None:
    rows = json.loads(wsseg("plugins", "list", "--json").stdout)["plugins"]
    assert {"datasets", "methods", "segmenters"} <= {row["group"] for row in rows}
    text = wsseg("plugins", "show", "cam", "--group", "methods").stdout
    assert "dropout" in text and "paper" in text and ">= 0, < 1" in text
    data = json.loads(wsseg("plugins", "show", "cam", "--json").stdout)["plugins"]
    assert "dropout" in data[0]["options"]["properties"]


def test_doctor() -> None:
    done = wsseg("doctor", "--json")
    data = json.loads(done.stdout)
    assert done.exit_code == (1 if data["problems"] else 0)
    topics = {finding["topic"] for finding in data["findings"]}
    assert topics == {"versions", "machine", "crf", "extras", "plugins", "caches"}
    assert all(finding["fix"] for finding in data["findings"] if finding["level"] == "PROBLEM")


LISTS = [["--help"], ["recipes", "list"], ["plugins", "list"], ["backbones"], ["weights", "list"]]


@pytest.mark.parametrize(
    "words",
    [
        *LISTS,
        ["doctor"],
        ["cam", "-r", "quickstart", "--set", "a=1"],
        ["prepare", "-q", "-r", "quickstart", *(f"--set=dataset.options.{split}=4" for split in ("train", "val"))],
    ],
)
def test_answers_at_once_without_torch(words: list[str], here: Path) -> None:
    # how fast it is stands in benchmarks/startup.py; a test that asserts a time fails on a busy machine
    slow = {"torch", "timm", "torchvision", "numba"} | ({"numpy"} if words in LISTS else set())
    code = (
        "import sys, atexit\n"
        f"atexit.register(lambda: print('slow', sorted({slow} & set(sys.modules)), file=sys.stderr))\n"
        "from wsseg_cli.main import main\nmain()"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    command = [sys.executable, "-c", code, *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=here, env=environment)
    assert done.stderr.rstrip().endswith("slow []"), done.stderr


@pytest.mark.usefixtures("pretended")
@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize(
    ("words", "remarks", "debug"),
    [
        ("", 1, 0),
        ("-v", 1, 1),
        ("--verbose", 1, 1),
        ("--log-level debug", 1, 1),
        ("--log-level info", 1, 0),
        ("--log-level warning", 0, 0),
        ("--log-level error", 0, 0),
    ],
)
def test_how_much_is_said(words: str, remarks: int, debug: int, before: bool) -> None:
    command = ["cam", "-r", "quickstart"]
    done = wsseg(*words.split(), *command) if before else wsseg(*command, *words.split())
    assert done.exit_code == 0 and done.stdout == "cam 3/3\n"
    assert done.stderr.count("Next: wsseg pseudo") == remarks
    assert ("debug: recipe " in done.stderr) == bool(debug)
    assert wsseg(*command).stderr == "Next: wsseg pseudo --recipe quickstart\n", "the next command begins anew"


def test_verbose_says_where_an_error_came_from() -> None:
    done = wsseg("cam", "-r", "none", "-v")
    assert done.exit_code == 2 and "Traceback" in done.stderr and "error: no recipe 'none'" in done.stderr
    assert "Traceback" not in wsseg("cam", "-r", "none").stderr


@pytest.mark.parametrize("level", ["cam", ""])
def test_levels_that_are_none(level: str) -> None:
    done = wsseg("cam", "-r", "quickstart", "--log-level", level)
    assert done.exit_code == 2 and "debug" in done.stderr


@pytest.mark.parametrize(
    ("shell", "code"),
    [
        ("wsseg recipes list | head -1", 0),
        ("wsseg recipes list --json | true", 0),
        ("wsseg plugins list 2>&1 | true", 0),
        ("wsseg --help | true", 0),
        ("wsseg recipes check bad.yaml | true", 2),
        ("wsseg recipes check bad.yaml 2>&1 | true", 2),
    ],
)
def test_a_reader_that_goes_changes_no_exit_code(shell: str, code: int, here: Path) -> None:
    Path("bad.yaml").write_text("a: 1\n", encoding="utf-8")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "plugins")])}
    text = shell.replace("wsseg ", f"{sys.executable} -m wsseg_cli ", 1)
    # the reader goes before anything is written
    text = text.replace("| true", "| (exec <&-; true)")
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", text], capture_output=True, encoding="utf-8", cwd=here, env=environment
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr and "BrokenPipe" not in done.stderr


def test_a_working_directory_that_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    done = wsseg("prepare", "-r", "quickstart")
    assert done.exit_code == 4 and done.stderr == "error: the working directory is gone; `cd` to one that is there\n"
