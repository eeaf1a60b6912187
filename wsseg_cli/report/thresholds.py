"""Masks of the same photos at three background thresholds: the run's own, one lower, one higher; before the CRF."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ..data.images import read_image
from ..data.overlays import mask_overlay
from ..data.stores import ScoreStore
from ..errors import DataError, StageError
from ..ops.masks import mask_from_map
from ..run.threshold import chosen
from .collect import RunFacts
from .sheet import Picture, picture_of

APART = 0.1
"""The distance between the thresholds."""


@dataclass(frozen=True)
class Threshold:
    """What the report shows of a run's threshold: its value, how it was chosen, and photos with three masks each."""

    value: float
    said: str
    rows: Sequence[tuple[str, Sequence[Picture]]]


def three_thresholds(run: RunFacts, count: int) -> Threshold | None:
    """Return `count` photos of the training images at three thresholds; None without a threshold or maps."""
    own = _own(run)
    if own is None or run.index is None or count == 0:
        return None
    value, said = own
    store = ScoreStore(run.path / ("refine" if run.recipe.get("refine") else "cam"))
    train = (run.recipe.get("dataset") or {}).get("train") or ()
    known = run.index.splits()
    samples = run.index.samples(*(name for name in ([train] if isinstance(train, str) else train) if name in known))
    missing = set(store.missing([sample.image_id for sample in samples]))
    there = [sample for sample in samples if sample.image_id not in missing and sample.labels]
    rows = []
    try:
        for sample in random.Random(0).sample(there, min(count, len(there))):
            photo, scores = read_image(sample.image, sample.orientation), store[sample.image_id]
            pictures = [picture_of("photo", photo)]
            for threshold in (max(value - APART, 0.0), value, min(value + APART, 1.0)):
                mask = mask_from_map(scores, threshold=threshold)
                caption = f"threshold {threshold:.2f}: objects cover {100 * (mask > 0).mean():.0f} %"
                pictures.append(picture_of(caption, mask_overlay(photo, mask)))
            rows.append((sample.image_id, pictures))
    except (DataError, OSError):
        return None  # the contact sheet reports what is wrong with the pictures
    return Threshold(value, said, rows) if rows else None


def _own(run: RunFacts) -> tuple[float, str] | None:
    """Return the threshold that the run's pseudo-masks were made with, and how it was chosen."""
    pseudo = run.recipe.get("pseudo")
    background = pseudo.get("background") if isinstance(pseudo, dict) else None
    if background == "auto":
        try:
            found = chosen(run.path / "pseudo")
        except StageError:
            return None
        return (found.threshold, found.said) if found else None
    value = background.get("threshold") if isinstance(background, dict) else None
    return (float(value), "set in the recipe") if isinstance(value, int | float) else None
