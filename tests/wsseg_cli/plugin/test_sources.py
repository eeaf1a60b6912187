"""What a data set is read from, where its author says nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from wsseg_cli.plugin import Dataset, DatasetOptions
from wsseg_cli.plugin.sources import named_places


class Options(DatasetOptions):
    root: Path
    table: Path | None = None
    folder: str = ""
    lists: dict[str, Path] = {}
    masks: tuple[Path, ...] = ()


def write(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_what_options_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "data/a.csv", tmp_path / "data/train.txt", tmp_path / "m/0.png", tmp_path / "other/x")
    options = Options(
        root=Path("data"), table=Path("a.csv"), folder="other", lists={"train": Path("train.txt")}, masks=(Path("m"),)
    )
    assert named_places(options) == {
        "root": tmp_path / "data",
        "table": tmp_path / "data/a.csv",
        "folder": tmp_path / "other",
        "lists.train": tmp_path / "data/train.txt",
        "masks.0": tmp_path / "m",
    }


def test_a_data_set_that_says_nothing(tmp_path: Path) -> None:
    root = tmp_path / "data"
    write(root / "labels.csv", root / "photos/a.jpg", root / "xml/a.xml", root / ".cache/b.json", tmp_path / "l.txt")
    data = Dataset(Options(root=root, lists={"train": tmp_path / "l.txt"}), tmp_path / "work")
    found = data.sources(["train"])
    assert set(found.tables) == {tmp_path / "l.txt", root / "labels.csv"}
    assert found.files == (root / "xml/a.xml",) and found.listed == (root,)
