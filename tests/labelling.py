"""Masks with what makes them hard for labelling tools, and the commands that bring them there and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from typer.testing import CliRunner

from wsseg_cli.main import app

NAMES = ["cat", "собака, große", "猫 & <b>"]
IGNORED = "unsure"


def masks() -> dict[str, np.ndarray]:
    """Return masks with a hole, several components, touching classes, single pixels, 255 to the borders, and none."""
    made = {name: np.zeros((13, 18), np.uint8) for name in ("a", "sub/ü b", "empty", "full", "pixel")}
    a = made["a"]
    a[1:9, 1:9] = 1
    a[3:6, 3:6] = 0
    a[4, 4] = 2
    a[1:9, 9:12] = 3
    a[10:, 15:] = 255
    a[12, 0] = a[11, 2] = a[0, 17] = 2
    made["sub/ü b"][:] = np.arange(18) % 4
    made["sub/ü b"][5] = 255
    made["full"][:] = 3
    made["pixel"][0, 0] = made["pixel"][12, 17] = 1
    return made


MASKS = masks()


def wsseg(*words: object) -> Any:
    return CliRunner().invoke(app, list(map(str, words)), prog_name="wsseg", env={"COLUMNS": "200"})


def export(box: Path, to: str, out: str, *words: object) -> Any:
    given = ("--classes", box / "names.txt", "--photos", box / "photos")
    return wsseg("export", "masks", box / "masks", "--to", to, "--out", box / out, *given, *words)


def accepted(box: Path, file: str) -> None:
    """Turn predictions into annotations, as somebody does who accepts them in Label Studio."""
    tasks = json.loads((box / file).read_text(encoding="utf-8"))
    for task in tasks:
        task["annotations"] = [{"result": task.pop("predictions")[0]["result"], "was_cancelled": False}]
    (box / file).write_text(json.dumps(tasks), encoding="utf-8")


FILES = {"out.json": "coco", "out.xml": "cvat", "out.zip": "cvat", "tasks.json": "label-studio"}
