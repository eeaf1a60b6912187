from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from typer.testing import CliRunner

from wsseg_cli.main import app


def wsseg(*words: object) -> Any:
    return CliRunner().invoke(app, ["convert", *map(str, words)], env={"COLUMNS": "120"})


def test_labels_there_and_back(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,labels\na,cat;dog\nb,dog\nc,\n")
    (tmp_path / "names.txt").write_text("cat\ndog\n")
    done = wsseg("labels", tmp_path / "labels.csv", tmp_path / "labels.npy")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == ["cat  1", "dog  2", "3 images, 1 without a label", str(tmp_path / "labels.npy")]
    said = json.loads(
        wsseg(
            "labels", tmp_path / "labels.npy", tmp_path / "again.jsonl", "--classes", tmp_path / "names.txt", "--json"
        ).stdout
    )
    assert (said["images"], said["without"], said["counts"], said["classes"]) == (3, 1, [1, 2], ["cat", "dog"])
    without_names = wsseg("labels", tmp_path / "labels.npy", tmp_path / "again.csv")
    assert without_names.exit_code == 2 and "--classes FILE" in without_names.stderr


def test_cams_of_psa(tmp_path: Path) -> None:
    source, out = tmp_path / "theirs", tmp_path / "ours"
    source.mkdir()
    np.save(source / "a.npy", {3: np.full((4, 6), 0.5, np.float32)}, allow_pickle=True)  # type: ignore[arg-type]
    done = wsseg("cams", source, out)
    assert done.exit_code == 0 and done.stdout.splitlines()[0] == "class 3  1 file"
    assert [file.name for file in out.iterdir()] == ["a.safetensors"]
    assert wsseg("cams", source, out, "--form", "psb").exit_code == 2


def test_masks_that_fail_are_named_and_the_others_are_written(tmp_path: Path) -> None:
    source, out = tmp_path / "theirs", tmp_path / "ours"
    source.mkdir()
    Image.fromarray(np.array([[0, 1]], np.uint8)).save(source / "good.png")
    Image.fromarray(np.array([[0, 9]], np.uint8)).save(source / "bad.png")
    done = wsseg("masks", source, out, "--num-classes", 5, "--json")
    assert done.exit_code == 4 and "1 of 2 files were not converted" in done.stderr and "value 9" in done.stderr
    said = json.loads(done.stdout)
    assert said["written"] == 1 and said["counts"] == {"0": 1, "1": 1}
    assert [Path(failure["file"]).name for failure in said["failures"]] == ["bad.png"]
