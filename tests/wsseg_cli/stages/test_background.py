"""`pseudo.background: auto`: the mean of the highest scores, drawn towards the best on masks where there are any."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_up_run import write_run
from typer.testing import CliRunner

from wsseg_cli import main as cli
from wsseg_cli.data.index import Entry, Index, read_index, write_index
from wsseg_cli.data.stores import MaskStore, ScoreStore
from wsseg_cli.report import write_report
from wsseg_cli.stages.background import between
from wsseg_cli.status import open_existing
from wsseg_cli.types import ScoreMap

RECIPE = """\
name: auto
seed: 0
dataset: {name: toy, options: {}, train: train, val: val, score: train}
train_cls: {method: {name: cam, options: {backbone: small}}}
cam: {infer: {scales: [1.0]}}
pseudo: {background: auto}
"""
LEVELS = (0.0, 0.125, 0.25, 0.5)
"""Scores around the object of each image, whose own score is 1; the first map shows no class."""


def scores(number: int, truth: np.ndarray) -> ScoreMap:
    """Return a map that is 1 on the object and LEVELS[number] elsewhere; of the first image one without a class."""
    if number == 0:
        return ScoreMap(f"made/up{number}", np.zeros(0, np.int64), np.zeros((0, 24, 32), np.float32), (24, 32))
    maps = np.where(truth > 0, 1.0, LEVELS[number]).astype(np.float32)[None]
    return ScoreMap(f"made/up{number}", np.array([number % 2]), maps, (24, 32))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run whose four images are all of `train`, with masks, score maps as above and no pseudo-masks."""
    folder = write_run(tmp_path / "auto", truth=True)
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")
    with_masks(folder, range(4))
    for path in (folder / "pseudo").rglob("*"):
        path.unlink()
    (folder / "pseudo").rmdir()
    index = read_index(folder / "prepare")
    for number, entry in enumerate(index.entries.values()):
        truth = MaskStore(tmp_path / "photos").read(f"{number}_mask", index.classes)
        ScoreStore(tmp_path / "maps").write(scores(number, truth), stride=1)
        assert entry.sample.image_id == f"made/up{number}"
    return folder


def with_masks(folder: Path, numbers: range) -> None:
    """Give the images of these numbers their masks, the others none, and put all into `train`."""
    index = read_index(folder / "prepare")
    photos = folder.parent / "photos"
    entries = []
    for number, entry in enumerate(index.entries.values()):
        mask = photos / f"{number}_mask.png" if number in numbers else None
        sample = type(entry.sample)(entry.sample.image_id, entry.sample.image, entry.sample.labels, mask)
        entries.append(Entry(sample, ("train",), entry.size))
    content = write_index(folder / "prepare", Index(entries, index.classes), {})
    opened = open_existing(folder)
    opened.begin("prepare")
    opened.finish("prepare", index=content, counts={"train": 4})


def mean_of_highest(folder: Path) -> float:
    index = read_index(folder / "prepare")
    covered = [(MaskStore(folder.parent / "photos").read(f"{n}_mask", index.classes) > 0).mean() for n in range(4)]
    return float(np.mean([share + (1 - share) * level for share, level in list(zip(covered, LEVELS, strict=True))[1:]]))


def pseudo(folder: Path, *words: str) -> dict[str, object]:
    command = ["pseudo", "-r", str(folder / "recipe.yaml"), "--run", str(folder), "--json"]
    command += ["--use", f"cam={folder.parent / 'maps'}", "--set", "runtime.workers=1", *words]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def test_without_masks_it_is_the_mean_of_the_highest_scores(run: Path) -> None:
    with_masks(run, range(0))
    want = round(mean_of_highest(run), 2)
    data = pseudo(run)
    assert data["threshold"] == {"threshold": want, "without_masks": want, "best": None, "interval": None, "masks": []}
    classes = read_index(run / "prepare").classes
    for number in range(4):
        truth = MaskStore(run.parent / "photos").read(f"{number}_mask", classes)
        mask = MaskStore(run / "pseudo").read(f"made/up{number}", classes)
        # the object alone where what is around it stays below the threshold, nothing without a class, else everything
        covered = 0 if number == 0 else (truth > 0).mean() if LEVELS[number] <= want else 1
        assert (mask > 0).mean() == covered


def test_masks_draw_it_towards_the_best_on_them_and_are_named(run: Path) -> None:
    with_masks(run, range(3, 4))
    mean = round(mean_of_highest(run), 2)
    data = pseudo(run)
    # of the last image every threshold from 0.5 on is right, and the lowest of equals is the best
    assert data["threshold"] == {
        "threshold": between(mean, 0.5, 1),
        "without_masks": mean,
        "best": 0.5,
        "interval": None,
        "masks": ["made/up3"],
    }
    assert between(0.3, 0.6, 1) == 0.31 and between(0.3, 0.6, 20) == 0.45 and between(0.3, 0.6, 100_000) == 0.6


def test_it_is_said_kept_and_shown(run: Path) -> None:
    with_masks(run, range(3, 4))
    command = ["pseudo", "-r", str(run / "recipe.yaml"), "--run", str(run), "--use", f"cam={run.parent / 'maps'}"]
    done = CliRunner().invoke(cli.app, command)
    record = json.loads((run / "pseudo" / "threshold.json").read_text(encoding="utf-8"))
    value, mean = record["threshold"], record["without_masks"]
    assert done.stdout.splitlines()[1] == (
        f"           threshold {value:.2f}, chosen with 1 train mask (made/up3): best on it is 0.50, "
        f"without masks {mean:.2f}, which counts as 20 masks"
    )
    for path in (run.parent / "maps").iterdir():
        (run / "cam" / path.name).write_bytes(path.read_bytes())
    page = write_report([run]).read_text(encoding="utf-8")
    shown = (value - 0.1, value, value + 0.1)
    assert all(page.count(f"<figcaption>threshold {threshold:.2f}: objects cover") == 4 for threshold in shown)
    assert "chosen with 1 train mask (made/up3)" in page


def test_maps_without_a_class_are_refused(run: Path) -> None:
    with_masks(run, range(0))
    for number in range(4):
        empty = scores(0, np.zeros((24, 32)))
        store = ScoreStore(run.parent / "maps")
        store.write(type(empty)(f"made/up{number}", empty.classes, empty.scores, empty.size))
    command = ["pseudo", "-r", str(run / "recipe.yaml"), "--run", str(run), "--use", f"cam={run.parent / 'maps'}"]
    done = CliRunner().invoke(cli.app, command)
    assert done.exit_code == 4 and "no score map of a training image shows a class" in done.stderr


@pytest.mark.parametrize("value", ["automatic", "{threshold: auto}", "{threshold: 2}", "0.3"])
def test_other_words_are_refused(tmp_path: Path, value: str) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.replace("background: auto", f"background: {value}"), encoding="utf-8")
    done = CliRunner().invoke(cli.app, ["recipes", "check", str(path)])
    assert done.exit_code == 2 and "pseudo.background" in done.stderr + done.stdout
    assert "literal[" not in done.stderr + done.stdout
