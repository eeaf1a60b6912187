"""Data that change under a run: prepare, status and every later stage say what changed and what to do."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner, Result

from wsseg_cli.data.index import read_index
from wsseg_cli.main import app

RECIPE = """\
name: own
dataset: {name: folder, options: {root: "${OWN_PHOTOS}", labels: labels.csv}, train: train, val: val}
train_cls:
  method: {name: cam, options: {backbone: small, backbone_options: {width: 8}}}
  weights: none
  batch_size: 2
  max_steps: 1
  augment: {crop: 32}
  optim: {name: sgd, lr: 0.01}
runtime: {workers: 0, device: cpu}
"""
TRUST = "`--trust-data` continues without this check"


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of twelve photos with a table; the working directory holds a prepared run of them, `run`."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(rng.integers(0, 255, (24, 32, 3)).astype(np.uint8)).save(folder / f"p{number:02d}.png")
    rows = [f"p{number:02d}.png,{'dgo' if number == 3 else 'cat' if number % 2 else 'dog'}" for number in range(12)]
    (folder / "labels.csv").write_text("image,labels\n" + "\n".join(rows) + "\n")
    monkeypatch.setenv("OWN_PHOTOS", str(folder))
    Path("r.yaml").write_text(RECIPE)
    assert wsseg("prepare").exit_code == 0
    return folder


def wsseg(command: str, *words: str) -> Result:
    return CliRunner().invoke(app, [command, "--recipe", "r.yaml", "--run", "run", *words], env={"COLUMNS": "200"})


def refused(command: str, *words: str) -> str:
    done = wsseg(command, *words)
    assert done.exit_code == 5, done.output
    assert "run/prepare is stale: its data have changed" in done.stderr and TRUST in done.stderr
    assert "`wsseg prepare --force` reads them again" in done.stderr
    return done.stderr


def stale() -> dict[str, str]:
    done = CliRunner().invoke(app, ["status", "run", "--json"])
    assert done.exit_code == 0, done.output
    return {s["stage"]: s["detail"] for s in json.loads(done.stdout)["runs"][0]["stages"] if s["state"] == "stale"}


def test_nothing_changed(photos: Path) -> None:
    assert "up to date" in wsseg("prepare").stdout
    assert stale() == {}
    assert wsseg("train-cls", "-q").exit_code == 0


def test_a_corrected_label(photos: Path) -> None:
    assert wsseg("train-cls", "-q").exit_code == 0
    table = photos / "labels.csv"
    before = table.stat()
    table.write_text(table.read_text().replace("dgo", "dog"))
    os.utime(table, ns=(before.st_atime_ns, before.st_mtime_ns))  # of the same size and time, tables are read
    assert "1 file has changed: labels.csv" in refused("prepare")
    assert "1 file has changed: labels.csv" in refused("train-cls")
    assert "1 file has changed: labels.csv" in refused("train-cls", "--dry-run")
    assert stale() == {
        "prepare": "1 file has changed: labels.csv",
        "train-cls": "the data of prepare have changed",
    }
    assert list(read_index(Path("run/prepare")).classes) == ["cat", "dgo", "dog"]
    assert wsseg("train-cls", "--trust-data").stdout == "train-cls is up to date\n"
    assert wsseg("prepare", "--force").exit_code == 0
    assert list(read_index(Path("run/prepare")).classes) == ["cat", "dog"]
    done = wsseg("train-cls")
    assert done.exit_code == 5 and "the index of prepare has changed" in done.stderr


def test_photos_that_come_and_go(photos: Path) -> None:
    (photos / "p04.png").unlink()
    shutil.copy(photos / "p05.png", photos / "new.png")
    said = refused("prepare")
    assert "1 file is gone: p04.png" in said and "1 file is new: new.png" in said
    assert "1 file is gone: p04.png; 1 file is new: new.png" in stale()["prepare"]


def test_resized_photos(photos: Path) -> None:
    for path in photos.glob("*.png"):
        with Image.open(path) as picture:
            small = picture.resize((16, 12))
        small.save(path)
    assert "12 files have changed: p00.png, p01.png, p02.png, … (9 more)" in refused("train-cls")


def test_other_pixels_make_the_training_stale(photos: Path) -> None:
    assert wsseg("train-cls", "-q").exit_code == 0
    with Image.open(photos / "p00.png") as picture:
        turned = picture.rotate(180)
    turned.save(photos / "p00.png")
    assert "1 file has changed: p00.png" in refused("prepare")
    assert wsseg("prepare", "--force").exit_code == 0
    done = wsseg("train-cls")
    assert done.exit_code == 5 and "the photos of prepare have changed" in done.stderr


def test_another_folder_in_the_variable(photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    other = tmp_path / "others"
    shutil.copytree(photos, other)
    for path in other.glob("*.png"):
        with Image.open(path) as picture:
            turned = picture.rotate(180)
        turned.save(path)
    monkeypatch.setenv("OWN_PHOTOS", str(other))
    said = refused("prepare")
    assert f"root: {photos} → {other}\n  12 files have changed: p00.png, p01.png" in said
    monkeypatch.setenv("OWN_PHOTOS", str(tmp_path / "nowhere"))
    assert "13 files are gone: labels.csv, p00.png, p01.png" in refused("train-cls")


def test_a_run_moves_with_its_data(photos: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    shutil.move(str(photos), str(away / "pictures"))
    shutil.move("run", away / "run")
    shutil.copy("r.yaml", away)
    for path in (away / "pictures").iterdir():
        os.utime(path)  # as a copy does
    monkeypatch.chdir(away)
    monkeypatch.setenv("OWN_PHOTOS", str(away / "pictures"))
    assert stale() == {}
    assert "up to date" in wsseg("prepare").stdout
    assert wsseg("train-cls", "-q").exit_code == 0  # reads the photos where they lie now
    # what was read once is not read again: the record has the new times
    record = json.loads(Path("run/prepare/sources.json").read_text())
    times = dict(zip(record["files"][0]["names"], record["files"][0]["times"], strict=True))
    assert times["p00.png"] == (away / "pictures" / "p00.png").stat().st_mtime_ns


def test_without_the_variable_later_stages_go_by_what_was_read(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OWN_PHOTOS")
    assert wsseg("train-cls", "-q").exit_code == 0
    (photos / "p04.png").unlink()
    assert "1 file is gone: p04.png" in refused("train-cls")


def test_an_older_run_is_read_and_said_once(photos: Path) -> None:
    record = Path("run/prepare/sources.json")
    done = json.loads(Path("run/prepare/done.json").read_text())
    record.unlink()
    Path("run/prepare/done.json").write_text(
        json.dumps({k: v for k, v in done.items() if k not in ("photos", "masks")})
    )
    notes = json.loads(CliRunner().invoke(app, ["status", "run", "--json"]).stdout)["runs"][0]["stages"][0]["notes"]
    assert notes == ["keeps no record of its data"]
    first, second = wsseg("train-cls"), wsseg("train-cls")
    assert first.exit_code == second.exit_code == 0
    assert "prepared before wsseg kept a record of its data" in first.stderr and record.is_file()
    assert "kept a record" not in second.stderr
    # what was learnt before the record stays valid when the same data are prepared again
    assert wsseg("prepare", "--force").exit_code == 0
    assert "up to date" in wsseg("train-cls").stdout
    (photos / "p04.png").unlink()
    assert "1 file is gone: p04.png" in refused("train-cls")


def test_a_split_beside_the_recipes(photos: Path) -> None:
    lists = {"train": range(8), "val": range(8, 10), "test": range(10, 12)}
    for name, numbers in lists.items():
        (photos / f"{name}.txt").write_text("".join(f"p{number:02d}\n" for number in numbers))
    Path("r.yaml").write_text(
        RECIPE.replace("labels.csv}", "labels.csv, lists: {train: train.txt, val: val.txt, test: test.txt}}")
    )
    assert wsseg("prepare", "--force").exit_code == 0
    assert wsseg("prepare", "--split", "test").exit_code == 0
    (photos / "test.txt").write_text("p10\n")
    assert wsseg("train-cls", "-q").exit_code == 0  # does not read it
    done = wsseg("eval", "--split", "test")
    assert done.exit_code == 5 and "1 file has changed: test.txt" in done.stderr
    assert "`wsseg prepare --split test` reads them again" in done.stderr


def test_what_is_drawn_into_the_run_is_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    toy = "dataset: {name: toy, options: {train: 4, val: 2, size: [64, 64], workers: 1}, train: train, val: val}"
    Path("r.yaml").write_text("\n".join(toy if row.startswith("dataset") else row for row in RECIPE.splitlines()))
    assert wsseg("prepare").exit_code == 0
    record = json.loads(Path("run/prepare/sources.json").read_text())
    assert record == {"roots": {}, "tables": [], "files": [], "listed": {}}
    next(Path("run/prepare/data").rglob("*.png")).touch()
    assert "up to date" in wsseg("prepare").stdout


def test_a_damaged_record_of_the_data_is_refused(photos: Path) -> None:
    path = Path("run/prepare/sources.json")
    whole = json.loads(path.read_text())
    shorter = json.loads(path.read_text())
    shorter["files"][0]["sizes"].pop()
    for content, said in ((shorter, "columns of 12, 11, 12, 12 rows"), (whole | {"listed": {"a\0b": []}}, "`listed")):
        path.write_text(json.dumps(content))
        done = wsseg("train-cls")
        assert done.exit_code == 4 and "sources.json" in done.stderr and said in done.stderr
        assert "run `wsseg prepare --force`" in done.stderr


def test_a_split_that_names_no_folder_is_refused(photos: Path) -> None:
    for split in ("../../outside", "a/b"):
        done = wsseg("prepare", "--split", split)
        assert done.exit_code == 2 and "cannot name a split" in done.stderr
