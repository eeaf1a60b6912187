"""The table of scores says over how many classes a mean is taken."""

from __future__ import annotations

from wsseg_cli.run.evaluation import Evaluation
from wsseg_cli.stages.score_table import score_lines


def record(artefact: str, iou: dict[str, float | None]) -> Evaluation:
    values = [value for value in iou.values() if value is not None]
    return Evaluation(
        artefact=artefact,
        split="val",
        protocol={},
        miou=sum(values) / len(values),
        iou=iou,
        precision=iou,
        recall=iou,
        pixel_accuracy=50.0,
        all_background_miou=10.0,
        confusion=[],
    )


FULL: dict[str, float | None] = {"background": 90.0, "cat": 30.0, "dog": 60.0}


def test_all_classes() -> None:
    lines = score_lines([record("cam", FULL), record("seg", FULL)], None)
    assert "           means over 3 classes, background among them" in lines


def test_absent_classes_are_named() -> None:
    lines = score_lines([record("cam", FULL), record("seg", FULL | {"dog": None})], None)
    assert "           cam on val: mean over 3 of 3 classes" in lines
    assert "           seg on val: mean over 2 of 3 classes; neither masks nor predictions show dog" in lines
    many = {"background": 90.0} | {f"c{n}": None for n in range(20)} | {"cat": 30.0}
    (line,) = [line for line in score_lines([record("cam", many)], None) if "mean over" in line]
    assert line.endswith(
        "mean over 2 of 22 classes; neither masks nor predictions show c0, c1, c2, c3, c4, c5, c6, c7 and 12 more"
    )
