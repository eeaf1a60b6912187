"""The section `eval` of a recipe: how results are evaluated."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ..settings import InferSettings, MaskCrfSettings, Settings


class ThresholdSettings(Settings):
    """Background thresholds at which score maps are evaluated."""

    start: float = Field(0.0, ge=0, le=1, description="first threshold")
    stop: float = Field(1.0, ge=0, le=1, description="last threshold")
    step: float = Field(0.01, gt=0, description="distance between two thresholds")

    @model_validator(mode="after")
    def _ascending(self) -> ThresholdSettings:
        if self.stop < self.start:
            raise ValueError(f"stop {self.stop} is below start {self.start}")
        return self


class EvalSettings(Settings):
    """How results are evaluated."""

    infer: InferSettings = Field(
        default_factory=InferSettings, description="test-time views of the segmentation network"
    )
    crf: MaskCrfSettings | None = Field(None, description="dense CRF on the network's class scores; null: none")
    thresholds: ThresholdSettings = Field(
        default_factory=ThresholdSettings, description="thresholds of the score-map curve"
    )
    ignored: Literal["wrong", "left_out"] = Field(
        "wrong", description="what 255 in an evaluated mask counts as: a pixel of no class, or one that is left out"
    )
