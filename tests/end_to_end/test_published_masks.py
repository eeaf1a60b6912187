"""Pseudo-masks that others published get the mIoU here that they are known to have."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from dev_data import dev_data
from shell import environment

TRANSCAM = 69.75
"""mIoU of TransCAM's masks on the 836 photos of train, as a script of others counts it."""


@pytest.mark.slow
def test_transcam(tmp_path: Path) -> None:
    masks = dev_data("transcam_pseudo", "masks400")
    variables = environment(tmp_path) | {"VOC_ROOT": str(dev_data("voc12r"))}
    words = ["wsseg", "--recipe", "cam_voc_lite", "--run", str(tmp_path / "run"), "--quiet"]
    prepare = [words[0], "prepare", *words[1:]]
    evaluate = [words[0], "eval", "--what", "pseudo", "--split", "train", "--use", f"pseudo={masks}", *words[1:]]
    for command in (prepare, evaluate):
        subprocess.run(command, check=True, env=variables, capture_output=True, timeout=300)
    record = json.loads((tmp_path / "run/eval/pseudo-train.json").read_text())
    assert record["miou"] == pytest.approx(TRANSCAM, abs=0.05)
    assert record["protocol"]["folder"] == str(masks)
    assert "crf" not in record["protocol"]  # of masks made elsewhere nothing is claimed
