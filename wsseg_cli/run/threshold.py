"""pseudo/threshold.json: the threshold that `pseudo.background: auto` chose, and how."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel

from ..disk.records import read_record
from ..errors import StageError

FILE = "threshold.json"
COUNTS_AS = 20
"""How many masks the mean score counts as, next to the best threshold on masks."""
_NAMED = 5


class ChosenThreshold(BaseModel):
    """pseudo/threshold.json: what `auto` chose.

    Attributes:
        threshold: in [0, 1], two digits.
        without_masks: the mean of the highest scores, to as many digits.
        best: the best threshold on masks of training images; None without any.
        interval: between which the best lies on 95 per cent of the sets drawn from few masks; None of one or of many.
        masks: ids of the training images that have one.
    """

    threshold: float
    without_masks: float
    best: float | None = None
    interval: tuple[float, float] | None = None
    masks: list[str] = []

    @property
    def said(self) -> str:
        """How the threshold was chosen, in words."""
        if self.best is None:
            return "chosen without masks: the mean of the highest scores"
        names = ", ".join(self.masks[:_NAMED]) + (", …" if len(self.masks) > _NAMED else "")
        count = f"{len(self.masks)} train mask{'' if len(self.masks) == 1 else 's'}"
        between = f" ({self.interval[0]:.2f} to {self.interval[1]:.2f}, 95 % bootstrap)" if self.interval else ""
        them = "it" if len(self.masks) == 1 else "them"
        return (
            f"chosen with {count} ({names}): best on {them} is {self.best:.2f}{between}, "
            f"without masks {self.without_masks:.2f}, which counts as {COUNTS_AS} masks"
        )


def chosen(folder: Path) -> ChosenThreshold | None:
    """Return what `auto` chose for the pseudo-masks in `folder`, None if nothing was chosen.

    Raises:
        StageError: the record is damaged.
    """
    return read_record(folder / FILE, ChosenThreshold, "run `wsseg pseudo --force`", StageError)
