"""Completion as bash does it: words are completed by a real bash, through the script that `wsseg` gives it."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from shell import ROOT, environment


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with a recipe and a run."""
    shutil.copyfile(ROOT / "recipes" / "quickstart.yaml", tmp_path / "my.yaml")
    (tmp_path / "runs" / "first").mkdir(parents=True)
    (tmp_path / "runs" / "first" / "recipe.yaml").touch()
    return tmp_path


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_in_bash(home: Path) -> None:
    wanted = {
        "wsseg run --recipe quickstart_ep": ["quickstart_eps"],
        "wsseg run -r m": ["my.yaml"],
        "wsseg recipes copy eps_c": ["eps_coco"],
        "wsseg plugins show sea": ["seam"],
        "wsseg rep": ["report"],
        "wsseg run -r quickstart --set see": ["seed="],
        "wsseg run -r quickstart --set train_cls.optim.l": ["train_cls.optim.lr="],
        # the shell takes an earlier seed=1 apart, and goes on nevertheless
        "wsseg run -r quickstart --set seed=1 --set pseudo.bac": [
            "pseudo.background.high=",
            "pseudo.background.low=",
            "pseudo.background.power=",
            "pseudo.background.threshold=",
        ],
        "wsseg run -r quickstart --set train_cls.method.options.dro": ["train_cls.method.options.dropout="],
        "wsseg cam --recipe quickstart --run ": ["runs/first"],
        "wsseg eval --what ps": ["pseudo"],
    }
    asks = [
        # what bash does on Tab: the words, cut at "=" as well, and the place of the last one
        f"COMP_WORDS=({' '.join(shlex.quote(w) for w in line.replace('=', ' = ').split(' '))});"
        "COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _wsseg_completion wsseg; echo ${COMPREPLY[@]}"
        for line in wanted
    ]
    script = "\n".join(['eval "$(_WSSEG_COMPLETE=source_bash wsseg)"', *asks])
    command = ["bash", "--norc", "--noprofile", "-c", script]
    done = subprocess.run(command, capture_output=True, text=True, cwd=home, env=environment(home))
    assert done.returncode == 0 and done.stderr == ""
    assert dict(zip(wanted, map(str.split, done.stdout.splitlines()), strict=True)) == wanted
