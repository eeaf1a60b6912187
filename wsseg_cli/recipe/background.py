"""How the background gets a score in pseudo-masks: what the key `pseudo.background` may say."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from ..settings import Settings


class BackgroundSettings(Settings):
    """How the background is scored: a threshold, two with pixels left out in between, or (1 - highest) ** power."""

    threshold: float | None = Field(None, ge=0, le=1, description="constant background score")
    power: float | None = Field(None, gt=0, description="exponent alpha of (1 - highest score) ** alpha")

    low: float | None = Field(None, ge=0, le=1, description="background where no class beats this constant score")
    high: float | None = Field(None, ge=0, le=1, description="a class where it beats this one; 255 between the two")

    @model_validator(mode="after")
    def _one_way(self) -> BackgroundSettings:
        both = self.low is not None or self.high is not None
        if (self.threshold is not None) + (self.power is not None) + both != 1:
            raise ValueError(
                "give exactly one of threshold and power, or low and high, or null for the maps' own background"
            )
        if both and (self.low is None or self.high is None or self.low > self.high):
            raise ValueError(f"low {self.low} and high {self.high}: give both, low not above high")
        return self

    @property
    def constants(self) -> tuple[float | None, ...]:
        """The constant scores that masks are made with: two if pixels are left out between them."""
        return (self.threshold,) if self.high is None else (self.high, self.low)


def _background_form(background: Any) -> str:
    return "literal['auto']" if isinstance(background, str) else BackgroundSettings.__name__


Background = Annotated[
    Annotated[BackgroundSettings, Tag(BackgroundSettings.__name__)]
    | Annotated[Literal["auto"], Tag("literal['auto']")],
    Discriminator(_background_form),
]
"""How the background is scored: as the recipe says, or "auto", a threshold that `pseudo` chooses and names."""
