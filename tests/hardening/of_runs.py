"""Readers of what a run holds: records, score maps, training state, models."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

from end_to_end.toy_run import RECIPE
from made_up_run import write_run

from hardening.reader import Call


def in_run(file: str, read: Callable[[Path], object]) -> Callable[[Path], tuple[Path, Call]]:
    def make(folder: Path) -> tuple[Path, Call]:
        run = write_run(folder / "run")
        _complete(run)
        return run / file, lambda: read(run)

    return make


def _complete(run: Path) -> None:
    """Give a run made by hand the records that the real stages leave."""
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

    page(collect([run]), images=1)


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


def state(name: str) -> Callable[[Path], tuple[Path, Call]]:
    def make(folder: Path) -> tuple[Path, Call]:
        import torch

        from wsseg_cli.engine import train_state

        def network() -> tuple[Any, Any]:
            torch.manual_seed(0)
            model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Conv2d(4, 2, 1))
            return model, torch.optim.AdamW(model.parameters(), 0.01)

        model, optimizer = network()
        model(torch.randn(2, 3, 8, 8)).mean().backward()
        optimizer.step()
        train_state.write(folder / "train", 5, model, optimizer, None)

        def read() -> None:
            model, optimizer = network()
            train_state.resume(folder / "train", model, optimizer, None)
            model(torch.randn(2, 3, 8, 8)).mean().backward()
            optimizer.step()

        return folder / "train" / "step_000005" / name, read

    return make


def model(folder: Path) -> tuple[Path, Call]:
    from wsseg_cli.engine import checkpoint
    from wsseg_cli.plugin import discovery
    from wsseg_cli.stages.plugins import predictor_from, trained
    from wsseg_cli.types import ClassNames

    cls: Any = discovery.load("segmenters", "deeplabv2")
    options = cls.Options.model_validate({"backbone": "small", "backbone_options": {"width": 8}, "form": "v2_small"})
    segmenter = cls(options, ClassNames(["cat", "dog"]))
    header = {
        "kind": "segmenters",
        "name": "deeplabv2",
        "options": options.model_dump(mode="json"),
        "classes": ["cat", "dog"],
        "normalization": {n: getattr(segmenter.normalization, n) for n in ("mean", "std", "scale", "order")},
        "weights": "none",
    }
    path = folder / "model.safetensors"
    checkpoint.write_model(path, segmenter.build_model(), header)

    def read() -> None:
        trained(predictor_from(path), path, "cpu", fast=True)

    return path, read
