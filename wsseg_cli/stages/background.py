"""`pseudo.background: auto`: the threshold that makes masks of a run's score maps, chosen and put into words.

Without masks it is the mean, over the training images, of the highest score of a pixel: a pixel is an object's where
some class scores above what is usual. Maps that run wide have a higher mean and need a higher threshold. How close that
comes to the best stands in docs/threshold.md. The best on a few masks alone is worse, since it changes much from one
handful to the next, so that it is taken together with the mean, which counts as `COUNTS_AS` masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pydantic import BaseModel

from ..data.index import Index
from ..data.stores import ScoreStore
from ..disk.records import read_record
from ..engine import processes
from ..engine.each import Work, each, share
from ..errors import DataError, StageError
from ..metrics import ThresholdCurve
from ..recipe.sections import BackgroundSettings, PseudoSettings
from ..run.records import write_json
from ..types import Sample
from . import Context
from .counting import count
from .per_image import device_and_workers, report_failures

FILE = "threshold.json"
COUNTS_AS = 20
"""How many masks the mean score counts as beside the best threshold on masks."""
_NAMED = 5


class ChosenThreshold(BaseModel):
    """pseudo/threshold.json: what `auto` chose.

    Attributes:
        threshold: in [0, 1], two digits.
        without_masks: the mean of the highest scores, to as many digits.
        best: the best threshold on masks of training images; None without any.
        masks: ids of the training images that have one.
    """

    threshold: float
    without_masks: float
    best: float | None = None
    masks: list[str] = []

    @property
    def said(self) -> str:
        """How it was chosen, in words."""
        if self.best is None:
            return "chosen without masks: the mean of the highest scores"
        names = ", ".join(self.masks[:_NAMED]) + (", …" if len(self.masks) > _NAMED else "")
        count = f"{len(self.masks)} train mask{'' if len(self.masks) == 1 else 's'}"
        return (
            f"chosen with {count} ({names}): best on {'it' if len(self.masks) == 1 else 'them'} is {self.best:.2f}, "
            f"without masks {self.without_masks:.2f}, which counts as {COUNTS_AS} masks"
        )


def chosen(folder: Path) -> ChosenThreshold | None:
    """Return what `auto` chose for the pseudo-masks in `folder`, None if nothing was chosen.

    Raises:
        StageError: the record is damaged.
    """
    return read_record(folder / FILE, ChosenThreshold, "run `wsseg pseudo --force`", StageError)


def settled(
    context: Context, section: PseudoSettings, index: Index, source: Path
) -> tuple[PseudoSettings, ChosenThreshold | None]:
    """Return the section with a threshold in the place of `auto`, and what was chosen (None where nothing was asked).

    source: folder of the score maps. A stage that goes on keeps what was chosen when it began.

    Raises:
        DataError: score maps are missing or broken, or no training image shows a class.
    """
    if section.background != "auto":
        return section, None
    folder = context.run.folder("pseudo")
    found = chosen(folder) or _choose(context, index, source)
    processes.barrier()
    if processes.is_main():
        write_json(folder / FILE, found.model_dump())
    processes.barrier()
    return section.model_copy(update={"background": BackgroundSettings(threshold=found.threshold)}), found


def _choose(context: Context, index: Index, source: Path) -> ChosenThreshold:
    samples = index.samples(*context.recipe.recipe.dataset.train)
    mean = _mean_of_highest(context, samples, source)
    masked = [sample for sample in samples if sample.mask is not None]
    if not masked:
        return ChosenThreshold(threshold=mean, without_masks=mean)
    curve = count(context, masked, source, "scores", context.recipe.section("eval").thresholds, "pseudo")
    assert isinstance(curve, ThresholdCurve)
    best = round(curve.best().threshold, 2)
    return ChosenThreshold(
        threshold=between(mean, best, len(masked)),
        without_masks=mean,
        best=best,
        masks=[sample.image_id for sample in masked],
    )


def between(mean: float, best: float, masks: int) -> float:
    """Return the threshold between the mean score and the best on so many masks, two digits."""
    return round((COUNTS_AS * mean + masks * best) / (COUNTS_AS + masks), 2)


def _mean_of_highest(context: Context, samples: Sequence[Sample], source: Path) -> float:
    """Return the mean over the images of the mean of a pixel's highest score, two digits.

    Images without a class, and maps that are 0 everywhere, say nothing of objects and are left out.
    """
    _, workers = device_and_workers(context)
    ids = [sample.image_id for sample in samples]
    done = each(share(ids), _averager, (source,), workers=workers, label="pseudo", quiet=True)
    report_failures(
        context.run.folder("pseudo"), "pseudo", processes.gather_objects(list(done.failures.items())), len(ids)
    )
    # by id, so that the last bits of the sum do not depend on who was done first
    means = dict(processes.gather_objects(list(done.results.items())))
    shown = [means[image_id] for image_id in ids if means[image_id] > 0]
    if not shown:
        raise DataError("pseudo.background: auto: no score map of a training image shows a class; set a threshold")
    return round(float(np.mean(shown)), 2)


def _averager(source: Path) -> Work:
    """Return the function that averages one image's highest scores; 0 for a map without a class."""
    store = ScoreStore(source)

    def mean(image_id: str) -> float:
        scores = store[image_id].scores
        return float(scores.max(axis=0).mean(dtype=np.float64)) if len(scores) else 0.0

    return mean
