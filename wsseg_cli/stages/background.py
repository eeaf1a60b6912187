"""`pseudo.background: auto`: the threshold that makes masks of a run's score maps, chosen and put into words.

Without masks it is the mean, over the training images, of a pixel's highest score: a pixel belongs to an object if some
class scores above the usual. Maps that spread wide have a higher mean and need a higher threshold. How close this comes
to the best is in docs/threshold.md. The best threshold on a few masks alone is worse, since it changes much from one
handful to the next; so it is averaged with the mean, which counts as `COUNTS_AS` masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..data.index import Index
from ..data.stores import ScoreStore
from ..engine import processes
from ..engine.each import Work, each, share
from ..errors import DataError
from ..recipe.background import BackgroundSettings
from ..recipe.sections import PseudoSettings
from ..run.records import write_json
from ..run.threshold import COUNTS_AS, FILE, ChosenThreshold, chosen
from ..types import Sample
from . import Context
from .counting import curve_and_spread
from .per_image import cpu_workers, report_failures


def settled(
    context: Context, section: PseudoSettings, index: Index, source: Path
) -> tuple[PseudoSettings, ChosenThreshold | None]:
    """Return the section with a threshold in place of `auto`, and what was chosen (None if nothing was asked for).

    source: folder of the score maps. A resumed stage keeps what was chosen when it began.

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
    curve, spread = curve_and_spread(context, masked, source, "pseudo")
    best = round(curve.best().threshold, 2)
    return ChosenThreshold(
        threshold=between(mean, best, len(masked)),
        without_masks=mean,
        best=best,
        interval=spread.threshold if spread else None,
        masks=[sample.image_id for sample in masked],
    )


def between(mean: float, best: float, masks: int) -> float:
    """Return the threshold between the mean score and the best on so many masks, two digits."""
    return round((COUNTS_AS * mean + masks * best) / (COUNTS_AS + masks), 2)


def _mean_of_highest(context: Context, samples: Sequence[Sample], source: Path) -> float:
    """Return the mean over the images of the mean of a pixel's highest score, two digits.

    Images without a class, and maps that are 0 everywhere, say nothing about objects and are left out.
    """
    workers = cpu_workers(context.recipe.section("runtime"))
    ids = [sample.image_id for sample in samples]
    done = each(share(ids), _averager, (source,), workers=workers, label="pseudo", quiet=True)
    report_failures(
        context.run.folder("pseudo"), "pseudo", processes.gather_objects(list(done.failures.items())), len(ids)
    )
    # by id, so that the last bits of the sum do not depend on the order of completion
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
