"""Which pixels of a pseudo-mask become 255 for lack of confidence: what the key `pseudo.ignore` may say."""

from __future__ import annotations

from typing import Any

from pydantic import Field, model_validator

from ..settings import Settings


class IgnoreSettings(Settings):
    """Pixels of a pseudo-mask that are 255 since their class is not sure enough."""

    below: float = Field(
        gt=0,
        le=1,
        description="least confidence: the highest CRF marginal, without a CRF the highest score's share of all scores",
    )
    only_training: bool = Field(
        False, description="255 only in the masks that train-seg reads; those that eval reads keep their class"
    )

    @model_validator(mode="before")
    @classmethod
    def _two_scores(cls, data: Any) -> Any:
        if isinstance(data, dict) and {"low", "high"} & data.keys():
            raise ValueError("two background scores are given as pseudo.background: {low: …, high: …}")
        return data
