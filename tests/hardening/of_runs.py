"""Readers of what a run holds: records and score maps."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path

from end_to_end.toy_run import RECIPE
from made_up_run import write_run

from hardening.reader import Call, Make


def in_run(file: str, read: Callable[[Path], object]) -> Make:
    def make(folder: Path) -> tuple[Path, Call]:
        run = write_run(folder / "run")
        _complete(run)
        return run / file, lambda: read(run)

    return make


def _complete(run: Path) -> None:
    """Give a run made by hand the records that the real stages leave."""
    from wsseg_cli.data.sources import write_sources
    from wsseg_cli.plugin.sources import Sources
    from wsseg_cli.run.records import write_json
    from wsseg_cli.status import open_existing

    (run / "recipe.yaml").write_text(RECIPE)
    opened = open_existing(run)
    for stage in ("prepare", "train-cls"):
        facts = json.loads((run / stage / "done.json").read_text()) if stage == "prepare" else {"images": 3}
        for name in ("stage.json", "done.json"):
            (run / stage / name).unlink(missing_ok=True)
        opened.begin(stage)
        opened.finish(stage, ["train", "val"], **facts)
    write_json(
        run / "lock", {"host": socket.gethostname(), "pid": 2**22 + 5, "since": "2026-01-01T00:00:00+00:00", "start": 5}
    )
    (run / "lock").rename(run / "prepare" / "lock")
    photos = run.parent / "photos"
    read = Sources(tables=(run / "recipe.yaml",), listed=(photos,))
    write_sources(run / "prepare", read, sorted(photos.glob("*.png")), {"root": photos}, {})
    write_json(run / "rank.json", {"by": "margin", "reads": {"cam": ""}, "scores": {"made/up0": 0.5, "made/up1": 1.0}})
    write_json(run / "pseudo" / "threshold.json", {"threshold": 0.4, "without_masks": 0.5, "best": 0.3, "masks": ["a"]})


def index(run: Path) -> None:
    from wsseg_cli.data.index import read_index
    from wsseg_cli.report.sheet import contact_sheet

    index = read_index(run / "prepare")
    for entry in index.entries.values():
        index.samples(*entry.splits)
    from wsseg_cli.report.collect import collect

    contact_sheet(collect([run]), 1)


def records(run: Path) -> None:
    from wsseg_cli.errors import StageError
    from wsseg_cli.status import open_existing, status, working

    opened = open_existing(run)
    for line in status(opened):
        repr(line)
    working(opened)
    for stage in ("prepare", "train-cls"):
        try:
            opened.look(stage)
            opened.require(stage)
        except StageError as error:
            # other settings are no damage: these are what a record may well say
            if str(run) not in str(error):
                raise


def report(run: Path) -> None:
    from wsseg_cli.report.collect import collect
    from wsseg_cli.report.page import page

    whole = run.with_name("whole")
    if not whole.exists():
        write_run(whole)
    page(collect([run, whole]), images=1)


def thresholds(run: Path) -> None:
    from wsseg_cli.report.collect import collect
    from wsseg_cli.report.thresholds import three_thresholds
    from wsseg_cli.run.threshold import chosen

    chosen(run / "pseudo")
    three_thresholds(collect([run])[0], 1)


def ranking(run: Path) -> None:
    from wsseg_cli.rank import kept_scores
    from wsseg_cli.status import open_existing

    kept_scores(open_existing(run))


def data_sources(run: Path) -> None:
    from wsseg_cli.stages.prepared import data_changes
    from wsseg_cli.status import open_existing

    found = data_changes(open_existing(run), refresh=True)
    if found:
        found.lines()


def given_scores(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.convert import to_tools

    run = write_run(folder / "run")
    _complete(run)
    path = folder / "scores.json"
    path.write_text(json.dumps({f"made%2Fup{number}": 0.1 * number for number in range(4)}))
    names = folder / "names.txt"
    names.write_text("cat\ndog\n")
    out, choice = folder / "out.json", to_tools.Choice(scores=path)
    return path, lambda: to_tools.run(run / "pseudo", out, "label-studio", choice, classes=names)


def lock(run: Path) -> None:
    from wsseg_cli.run.lock import RunLock, holder

    path = run / "prepare" / "lock"
    holder(path)
    with RunLock(path):
        pass


def scores(run: Path) -> None:
    from wsseg_cli.data.stores import ScoreStore

    for file in sorted((run / "cam").glob("*.safetensors")):
        if "up0" in file.name:
            ScoreStore(run / "cam")["made/up0"].full(0.3)
