"""The options of PPC; those that are null have the base's published value."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from wsseg_cam.classifier import ClassifierOptions

from wsseg_cli.nets.class_layer import HeadInit

from .contrast import PrototypeRule, Rules, semi_hard_counts

ON_EPS = ("tau", "lam", "ecr_bg_first_bug", "revised_saliency", "resize_saliency")
"""Options that only the base EPS reads."""

BACKGROUND = {"seam": 0.2, "eps": 0.1}
TOP_SHARE = {"seam": 8, "eps": 16}
DROPOUT = {"seam": 0.5, "eps": 0.0}


class PPCOptions(ClassifierOptions):
    """Options of PPC."""

    base: Literal["seam", "eps"] = Field(description="the system that the contrast is added to")
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="channels of the last map dropped in training; null: 0.5 on SEAM, 0 on EPS",
    )
    head_init: HeadInit = Field("xavier", description="what the class layer starts from; zero for few images and steps")
    projection: int = Field(128, ge=1, description="channels of the projection")
    view_size: int = Field(128, ge=2, description="side of the second view, the whole crop resized, in pixels")
    grid: int = Field(16, ge=1, description="side of the maps on which pixels are compared")
    background: float | None = Field(None, ge=0, le=1, description="background's score; null: 0.2 on SEAM, 0.1 on EPS")
    top: int | None = Field(
        None, ge=1, description="pixels of the batch that make a prototype; null: grid^2 / 8 on SEAM, / 16 on EPS"
    )
    weight: float = Field(0.1, ge=0, description="weight of each of the three losses of the contrast")
    temperature: float = Field(0.1, gt=0, description="temperature of the contrast")
    semi_hard: tuple[int, int] | None = Field(
        None, description="nearest classes skipped, and next ones taken as negatives; null: 3, 10 of 21 channels"
    )
    hard_share: float = Field(0.6, gt=0, le=1, description="share of a class's pixels that counts as hard")
    kept_share: float = Field(0.5, gt=0, le=1, description="share of them kept, at random and among the hard ones")
    prototypes: PrototypeRule = Field("published", description="masked: only from images that contain the class")
    min_pool: float = Field(0.25, gt=0, le=1, description="share of the pixels that are to hold no class")
    ecr_top: float = Field(0.2, gt=0, le=1, description="share of the differences that ECR counts")
    tau: float = Field(0.4, ge=0, le=1, description="on EPS: share of a class's area that is salient in foreground")
    lam: float = Field(0.5, ge=0, le=1, description="on EPS: weight of foreground in the explained saliency")
    ecr_bg_first_bug: bool = Field(True, description="on EPS: ECR takes class 0 for background, as published")
    revised_saliency: bool = Field(True, description="on EPS: a saliency loss on the revised maps, as published")
    resize_saliency: bool = Field(False, description="on EPS: accept saliency that differs in size from its image")

    @model_validator(mode="after")
    def _fit_together(self) -> PPCOptions:
        if self.kept_share > self.hard_share:
            raise ValueError(f"kept_share {self.kept_share} exceeds hard_share {self.hard_share}, of which it is")
        if self.semi_hard is not None and (self.semi_hard[0] < 0 or self.semi_hard[1] < 1):
            raise ValueError(f"semi_hard: expected [skipped >= 0, kept >= 1] (got {list(self.semi_hard)})")
        if self.base != "eps":
            fields = type(self).model_fields
            said = [name for name in ON_EPS if getattr(self, name) != fields[name].default]
            if said:
                raise ValueError(f"{', '.join(said)}: only base eps reads saliency (base is {self.base})")
        return self

    def dropout_of_base(self) -> float:
        """Return the dropout, the base's if none is given."""
        return DROPOUT[self.base] if self.dropout is None else self.dropout

    def rules(self, channels: int) -> Rules:
        """Return the numbers of the contrast of `channels` classes, background included; null options are filled in."""
        skip, keep = self.semi_hard or semi_hard_counts(channels)
        skip = min(skip, channels - 1)
        return Rules(
            channel=0 if self.base == "seam" else -1,
            background=BACKGROUND[self.base] if self.background is None else self.background,
            top=self.top or max(1, self.grid**2 // TOP_SHARE[self.base]),
            skip=skip,
            keep=min(keep, channels - skip),
            temperature=self.temperature,
            weight=self.weight,
            hard_share=self.hard_share,
            kept_share=self.kept_share,
            prototypes=self.prototypes,
            grid=self.grid,
        )
