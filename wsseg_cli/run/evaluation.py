"""One evaluation, eval/WHAT-SPLIT.json: its figures, in per cent, and the protocol that they need to be compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator, with_config
from typing_extensions import TypedDict

from ..disk.records import OPEN
from ..disk.writing import write_text
from ..types import Json
from .records import Count

Artefact = Literal["cam", "refine", "pseudo", "seg"]
"""What can be evaluated."""

Percent = Annotated[float, Field(ge=0, le=100)] | None
_Number = Annotated[float, Field(ge=-1e30, le=1e30)]


class _Views(TypedDict, total=False):
    scales: list[_Number]
    flip: bool


@with_config(OPEN)
class _Protocol(TypedDict, total=False):
    """The known entries of a protocol; stages and plugins add others."""

    images: Count
    labels: str
    infer: _Views | None
    crf: dict[str, str | int | float] | None
    background: dict[str, _Number] | None
    refiner: str | None
    supervision: str


class Threshold(BaseModel):
    """The background threshold of a score map's figures, and on which masks it was chosen.

    Attributes:
        interval, miou_interval: between which the best threshold and its mIoU lie on 95 per cent of the sets drawn from
            the images, where it was chosen on few.
    """

    value: _Number
    chosen: str
    interval: tuple[_Number, _Number] | None = None
    miou_interval: tuple[_Number, _Number] | None = None

    @property
    def said(self) -> str:
        """The threshold in words, with its interval where there is one."""
        between = f" ({self.interval[0]:.2f} to {self.interval[1]:.2f}, 95 % bootstrap)" if self.interval else ""
        return f"{self.value:.2f}{between}, {self.chosen}"


class ThresholdFigures(BaseModel):
    """Figures at one background threshold; `over` and `under` are the mean false positives and negatives in [0, 1].

    They are NaN if no class has a pixel.
    """

    threshold: _Number
    miou: Percent
    over: float
    under: float


class Evaluation(BaseModel):
    """What was evaluated, how, and the figures: per cent, None if a class has no pixel.

    Attributes:
        artefact: "cam", "refine", "pseudo" or "seg".
        split: name of the split.
        protocol: everything that must be known to compare these figures with others.
        threshold, curve: of score maps without a background of their own.
        all_background_miou: mIoU of masks that are background everywhere.
        confusion: (1+C, 1+C) pixel counts, rows the ground truth.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False)

    schema_version: int = 1
    artefact: Artefact
    split: str
    protocol: Json = {}
    threshold: Threshold | None = None
    curve: list[ThresholdFigures] | None = None
    miou: Percent
    iou: dict[str, Percent]
    precision: dict[str, Percent] = {}
    recall: dict[str, Percent] = {}
    pixel_accuracy: Percent = None
    all_background_miou: Percent = None
    confusion: list[list[Count]]

    @field_validator("protocol", mode="before")
    @classmethod
    def _known_parts(cls, protocol: Any) -> Any:
        TypeAdapter(_Protocol).validate_json(json.dumps(protocol))
        return protocol

    def as_dict(self) -> Json:
        """Return it as plain data, in the order of the fields; threshold and curve only if there are any."""
        absent: dict[str, Any] = {name: True for name in ("threshold", "curve") if getattr(self, name) is None}
        if self.threshold is not None and self.threshold.interval is None:
            absent["threshold"] = {"interval", "miou_interval"}
        return self.model_dump(exclude=absent)

    def write(self, folder: Path) -> None:
        """Write `folder`/WHAT-SPLIT.json, whole or not at all."""
        text = json.dumps(self.as_dict(), indent=1, ensure_ascii=False)
        write_text(folder / f"{self.artefact}-{self.split}.json", text)
