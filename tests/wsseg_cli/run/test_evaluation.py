"""The record of an evaluation on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from wsseg_cli.run.evaluation import Evaluation, Threshold, ThresholdFigures

FIGURES: dict[str, Any] = {
    "schema_version": 1,
    "artefact": "cam",
    "split": "val",
    "protocol": {"split": "val", "labels": "given"},
    "miou": 40.5,
    "iou": {"background": 80.0, "cat": None},
    "precision": {"background": 80.0, "cat": None},
    "recall": {"background": 80.0, "cat": None},
    "pixel_accuracy": 80.0,
    "all_background_miou": 40.0,
    "confusion": [[3, 0], [1, 0]],
}


def test_masks_have_neither_threshold_nor_curve(tmp_path: Path) -> None:
    Evaluation(**FIGURES).write(tmp_path)
    text = (tmp_path / "cam-val.json").read_text(encoding="utf-8")
    assert text == json.dumps(FIGURES, indent=1)


def test_curve_and_threshold_stand_before_the_figures(tmp_path: Path) -> None:
    record = Evaluation(**FIGURES)
    record.threshold = Threshold(value=0.3, chosen="chosen on val masks")
    record.curve = [ThresholdFigures(threshold=0.3, miou=None, over=0.1, under=float("nan"))]
    record.write(tmp_path)
    text = (tmp_path / "cam-val.json").read_text(encoding="utf-8")
    assert list(json.loads(text))[3:7] == ["protocol", "threshold", "curve", "miou"]
    assert '"under": NaN' in text
