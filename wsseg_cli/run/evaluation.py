"""One evaluation, eval/WHAT-SPLIT.json: its figures, in per cent, and the protocol that they need to be compared."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from ..disk.writing import write_text
from ..types import Json


class Threshold(BaseModel):
    """The background threshold of a score map's figures, and on which masks it was chosen."""

    value: float
    chosen: str


class ThresholdFigures(BaseModel):
    """Figures at one background threshold; `over` and `under` are the mean false positives and negatives in [0, 1]."""

    threshold: float
    miou: float | None
    over: float
    under: float


class Evaluation(BaseModel):
    """What was evaluated, how, and the figures: per cent, None where a class has no pixel.

    Attributes:
        artefact: "cam", "refine", "pseudo" or "seg".
        split: name of the split.
        protocol: everything that must be known to compare these figures with others.
        threshold, curve: of score maps without a background of their own.
        all_background_miou: mIoU of masks that are background everywhere.
        confusion: (1+C, 1+C) pixel counts, rows the ground truth.
    """

    model_config = ConfigDict(extra="ignore")

    schema_version: int = 1
    artefact: str
    split: str
    protocol: Json
    threshold: Threshold | None = None
    curve: list[ThresholdFigures] | None = None
    miou: float | None
    iou: dict[str, float | None]
    precision: dict[str, float | None]
    recall: dict[str, float | None]
    pixel_accuracy: float | None
    all_background_miou: float | None
    confusion: list[list[int]]

    def as_dict(self) -> Json:
        """Return it as plain data, in the order of the fields; threshold and curve only where there are any."""
        absent = {name for name in ("threshold", "curve") if getattr(self, name) is None}
        return self.model_dump(exclude=absent)

    def write(self, folder: Path) -> None:
        """Write `folder`/WHAT-SPLIT.json, whole or not at all."""
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False)
        write_text(folder / f"{self.artefact}-{self.split}.json", text)
