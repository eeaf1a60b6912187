"""`eval --min-miou`: which figures lie below, and what is printed when some do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from wsseg_cli.errors import RecipeError
from wsseg_cli.main import app
from wsseg_cli.run.evaluation import Evaluation
from wsseg_cli.stages import Result, bars
from wsseg_cli.stages import evaluate as stage


def record(artefact: str, split: str, miou: float | None) -> Evaluation:
    zero: dict[str, Any] = {"iou": {}, "precision": {}, "recall": {}, "confusion": []}
    return Evaluation(
        artefact=artefact, split=split, protocol={}, miou=miou, pixel_accuracy=0.0, all_background_miou=0.0, **zero
    )


RECORDS = [record("cam", "train", 41.0), record("seg", "train", 29.0), record("seg", "val", None)]


def test_bars() -> None:
    assert bars.parse_bars("40") == {"": 40.0}
    assert bars.parse_bars("cam=40, seg=30.5") == {"cam": 40.0, "seg": 30.5}
    for text in ("", "x", "-1", "101", "nan", "cam=", "cam=x", "camm=3", "cam=3,cam=4", "3,4", "cam=3,4"):
        with pytest.raises(RecipeError, match="such as cam=40,seg=30"):
            bars.parse_bars(text)


def test_what_lies_below() -> None:
    assert bars.below(RECORDS[:2], {"": 20}) == ""
    assert bars.below(RECORDS[:2], {"cam": 41, "seg": 29}) == ""
    said = bars.below(RECORDS, {"": 41.5})
    assert said == (
        "cam on train: mIoU 41.0 is below 41.5\nseg on train: mIoU 29.0 is below 41.5\n"
        "seg on val: mIoU None is below 41.5"
    )
    assert bars.below(RECORDS[:2], {"cam": 40, "seg": 30}) == "seg on train: mIoU 29.0 is below 30"
    assert bars.below(RECORDS[:2], {"pseudo": 40}) == "pseudo: not evaluated, so it does not reach 40"
    assert bars.below([], {"": 40}) == "--min-miou: no split has masks, so nothing was evaluated"


@pytest.mark.parametrize("as_json", [True, False])
def test_the_numbers_are_printed_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    monkeypatch.chdir(tmp_path)

    def run(context: Any, min_miou: Any, **_: Any) -> Result:
        return Result("eval", ["cam 41.0"], {"results": ["these"]}, failure=bars.below(RECORDS, min_miou))

    monkeypatch.setattr(stage, "run", run)
    words = ["eval", "-r", "quickstart", "--min-miou", "cam=50,seg=30", *(["--json"] if as_json else [])]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    if as_json:
        assert json.loads(done.stdout)["results"] == ["these"]
    else:
        assert done.stdout == "cam 41.0\n"
    for line in ("cam on train: mIoU 41.0 is below 50", "seg on train: mIoU 29.0 is below 30", "seg on val"):
        assert line in done.stderr
