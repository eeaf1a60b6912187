from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_up_run import RECIPE, record, write_run
from typer.testing import CliRunner

from wsseg_cli.main import app
from wsseg_cli.report import collect, write_report
from wsseg_cli.report.compare import as_tables, recipe_differences, score_rows

MORE = RECIPE.replace("seed: 0", "seed: 1").replace("{backbone: small}", "{backbone: small, dropout: 0.3}")


@pytest.fixture
def pair(tmp_path: Path) -> list[Path]:
    """Return two runs: the second has another seed, one more key, a better CAM and no pseudo-masks, but a network."""
    first, second = write_run(tmp_path / "first"), write_run(tmp_path / "second")
    (second / "recipe.yaml").write_text(MORE.replace("name: made_up", "name: other"), encoding="utf-8")
    better = record("cam", ("cat", "dog")) | {"miou": 44.25}
    (second / "eval" / "cam-val.json").write_text(json.dumps(better), encoding="utf-8")
    (second / "eval" / "pseudo-val.json").unlink()
    network = record("seg", ("cat", "dog")) | {"miou": 50.0}
    (second / "eval" / "seg-val.json").write_text(json.dumps(network), encoding="utf-8")
    return [first, second]


def test_runs_by_artefacts_with_differences(pair: list[Path]) -> None:
    scores, _ = as_tables(collect(pair))
    assert scores == [
        ["mIoU", "cam val", "pseudo val", "seg val"],
        ["first", "41.5", "41.5", "–"],
        ["second", "44.2 (+2.8)", "–", "50.0"],
    ]
    assert score_rows(collect(pair))[1][0].difference == 2.75


def test_recipes_key_by_key(pair: list[Path]) -> None:
    assert recipe_differences(collect(pair)) == {
        "seed": ["0", "1"],
        "train_cls.method.options.dropout": ["–", "0.3"],
    }


def test_long_values_that_differ_in_their_end_differ(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name) for name in ("a", "b")]
    for run, last in zip(runs, "xy", strict=True):
        text = RECIPE.replace("options: {}", f"options: {{root: {'long/' * 30}{last}}}")
        (run / "recipe.yaml").write_text(text, encoding="utf-8")
    assert list(recipe_differences(collect(runs))) == ["dataset.options.root"]


def test_command_prints_both_tables(pair: list[Path], tmp_path: Path) -> None:
    words = ["report", *map(str, pair), "--out", str(tmp_path / "both.html"), "--images", "0"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert [line.split() for line in done.stdout.splitlines()] == [
        ["mIoU", "cam", "val", "pseudo", "val", "seg", "val"],
        ["first", "41.5", "41.5", "–"],
        ["second", "44.2", "(+2.8)", "–", "50.0"],
        [],
        ["recipe", "first", "second"],
        ["seed", "0", "1"],
        ["train_cls.method.options.dropout", "–", "0.3"],
        [],
        ["report", str(tmp_path / "both.html")],
    ]
    data = json.loads(CliRunner().invoke(app, [*words, "--json"]).stdout)
    assert data["recipes"]["seed"] == ["0", "1"]
    found = {(s["run"], s["artefact"]): (s["miou"], s["difference"]) for s in data["scores"]}
    assert found["second", "cam"] == (44.25, 2.75) and found["second", "pseudo"] == (None, None)


def test_page_shows_both_tables(pair: list[Path], tmp_path: Path) -> None:
    page = write_report(pair, tmp_path / "both.html", images=0).read_text(encoding="utf-8")
    assert "Compared with first" in page and "<td>44.2 (+2.8)</td>" in page
    assert "train_cls.method.options.dropout" in page
    same = write_report([pair[0], pair[0]], tmp_path / "same.html", images=0).read_text(encoding="utf-8")
    assert "The recipes do not differ" in same
    alone = write_report(pair[:1]).read_text(encoding="utf-8")
    assert "Compared with" not in alone and "do not differ" not in alone
