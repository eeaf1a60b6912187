"""The contact sheet: which images are shown, and their pictures as small JPEGs in the page itself."""

from __future__ import annotations

import base64
import io
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.images import read_image, read_saliency
from ..data.overlay_colours import overlay_colours
from ..data.overlays import mask_overlay, score_overlay
from ..data.stores import CONFIDENCE, MaskStore, ScoreStore, checked_mask
from ..errors import DataError, StageError
from ..ops.masks import mask_from_map
from ..types import ByteArray, ClassNames, Sample
from .collect import RunFacts

SIDE = 280
"""Longer side of a picture in the page; a click shows it as large as the window."""
LOOKED_AT = 600
"""Most images that are compared to find the best and the worst; of more, a random sample."""

_WORDS = {"cam": "CAM", "refine": "refined", "pseudo": "pseudo-mask", "seg": "prediction"}


@dataclass(frozen=True)
class Picture:
    """A picture and its caption."""

    caption: str
    source: str


@dataclass(frozen=True)
class Strip:
    """One run's pictures of one image, and its image IoU in per cent (None without ground truth)."""

    run: str
    iou: float | None
    pictures: Sequence[Picture]


@dataclass(frozen=True)
class Card:
    """One image of the sheet: photo and ground truth, then a strip for each run."""

    image_id: str
    why: str
    labels: str
    given: Sequence[Picture]
    strips: Sequence[Strip]


@dataclass(frozen=True)
class Sheet:
    """The images of one split, ranked by one artefact, or the reason why none are shown."""

    split: str = ""
    ranked_by: str = ""
    cards: Sequence[Card] = ()
    note: str = ""
    legend: Sequence[tuple[str, str]] = field(default_factory=tuple)


def contact_sheet(runs: Sequence[RunFacts], count: int) -> Sheet:
    """Return the sheet of runs on the same data: `count` best, worst and random images by the first's image IoU."""
    first = runs[0]
    if first.index is None or count == 0:
        return Sheet(note=first.notes[0] if first.notes else "")
    split, artefact = _chosen(first)
    if not artefact:
        return Sheet(note="no masks or score maps to show yet")
    classes = first.index.classes
    store = (ScoreStore if artefact in ("cam", "refine") else MaskStore)(_folder(first, artefact, split))
    missing = set(store.missing([sample.image_id for sample in first.index.samples(split)]))
    samples = [sample for sample in first.index.samples(split) if sample.image_id not in missing]
    drawn = random.Random(0).sample(samples, min(LOOKED_AT, len(samples)))
    try:
        chosen, note = _pick(first, artefact, split, drawn, classes, count)
        cards = [_card(runs, split, sample, why, classes) for sample, why in chosen]
    except (DataError, StageError, OSError) as error:
        return Sheet(note=f"pictures cannot be shown: {error}")
    if len(samples) > LOOKED_AT:
        note += f" Looked for among {LOOKED_AT} drawn of {len(samples)} images."
    return Sheet(split, _WORDS[artefact], cards, note, _legend(classes))


def _chosen(run: RunFacts) -> tuple[str, str]:
    """Return the split with the most kinds of pictures, preferably one never trained on, and the last kind it has."""
    known = run.index.splits() if run.index else []
    best: list[str] = []
    chosen = ""
    for split in sorted(known, key=lambda name: name != run.val):
        there = [kind for kind in _WORDS if _path(run, kind, split, _some(run, split)).is_file()]
        if len(there) > len(best):
            best, chosen = there, split
    return chosen, best[-1] if best else ""


def _some(run: RunFacts, split: str) -> str:
    return run.index.samples(split)[0].image_id if run.index else ""


def _folder(run: RunFacts, artefact: str, split: str) -> Path:
    return run.path / "eval" / f"seg-{split}" if artefact == "seg" else run.path / artefact


def _path(run: RunFacts, artefact: str, split: str, image_id: str) -> Path:
    folder = _folder(run, artefact, split)
    return ScoreStore(folder).path(image_id) if artefact in ("cam", "refine") else MaskStore(folder).path(image_id)


def _pick(
    run: RunFacts, artefact: str, split: str, samples: Sequence[Sample], classes: ClassNames, count: int
) -> tuple[list[tuple[Sample, str]], str]:
    scores = {}
    for sample in samples:
        iou = _iou(run, artefact, split, sample, classes)
        if iou is not None:
            scores[sample.image_id] = iou
    by_id = {sample.image_id: sample for sample in samples}
    ranked = sorted(scores, key=lambda image_id: (-scores[image_id], image_id))
    best, worst = ranked[:count], ranked[count:][-count:][::-1]
    rest = [image_id for image_id in by_id if image_id not in {*best, *worst}][:count]
    chosen = [(by_id[i], why) for why, ids in (("best", best), ("worst", worst), ("random", rest)) for i in ids]
    if not scores:
        return [(sample, "random") for sample in samples[: 2 * count]], "No truth to compare with: drawn at random."
    return chosen, f"Best and worst by the IoU of the {_WORDS[artefact]} in the single image, the others drawn."


def _iou(run: RunFacts, artefact: str, split: str, sample: Sample, classes: ClassNames) -> float | None:
    """Return one image's mean IoU in per cent over the values in ground truth or mask, background included."""
    if sample.mask is None or not _path(run, artefact, split, sample.image_id).is_file():
        return None
    truth = checked_mask(sample.mask, classes)
    guess = _mask(run, artefact, split, sample.image_id, classes)
    seen = truth != 255
    values = np.union1d(np.unique(truth[seen]), np.unique(guess[seen]))
    ious = [
        ((truth == v) & (guess == v) & seen).sum() / max(1, (((truth == v) | (guess == v)) & seen).sum())
        for v in values
    ]
    return 100 * float(np.mean(ious)) if ious else None


def _mask(run: RunFacts, artefact: str, split: str, image_id: str, classes: ClassNames) -> ByteArray:
    """Return the mask of an image; for score maps, the one at the run's chosen threshold."""
    folder = _folder(run, artefact, split)
    if artefact in ("pseudo", "seg"):
        return MaskStore(folder).read(image_id, classes)
    scores = ScoreStore(folder)[image_id]
    record = run.result(artefact, split)
    threshold = record.threshold.value if record and record.threshold else None
    return mask_from_map(scores, threshold=0.3 if threshold is None and scores.background is None else threshold)


def _card(runs: Sequence[RunFacts], split: str, sample: Sample, why: str, classes: ClassNames) -> Card:
    image = read_image(sample.image, sample.orientation)
    given = [picture_of("photo", image)]
    if sample.mask is not None:
        given.append(picture_of("truth", mask_overlay(image, checked_mask(sample.mask, classes))))
    strips = []
    for run in runs:
        pictures, last = [], ""
        for artefact in _WORDS:
            path = _path(run, artefact, split, sample.image_id)
            if not path.is_file():
                continue
            if artefact in ("cam", "refine"):
                drawn = score_overlay(image, ScoreStore(path.parent)[sample.image_id])
            else:
                drawn = mask_overlay(image, MaskStore(path.parent).read(sample.image_id, classes, image.shape[:2]))
            pictures.append(picture_of(_WORDS[artefact], drawn))
            if (path.parent / CONFIDENCE / path.name).is_file():
                grey = read_saliency(path.parent / CONFIDENCE / path.name)
                caption = f"{_WORDS[artefact]}: how sure, {grey.mean() / 255:.2f} on average"
                pictures.append(picture_of(caption, np.repeat(grey[..., None], 3, axis=2)))
            last = artefact
        iou = _iou(run, last, split, sample, classes) if last else None
        strips.append(Strip(run.name, iou, pictures))
    return Card(sample.image_id, why, ", ".join(classes[label] for label in sample.labels), given, strips)


def picture_of(caption: str, picture: ByteArray) -> Picture:
    """Return (H, W, 3) uint8 as a small JPEG in the page itself."""
    image = Image.fromarray(picture)
    image.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    image.save(stream, format="JPEG", quality=82, optimize=True)
    return Picture(caption, "data:image/jpeg;base64," + base64.b64encode(stream.getvalue()).decode("ascii"))


def _legend(classes: ClassNames) -> list[tuple[str, str]]:
    colours = overlay_colours(len(classes))
    return [
        (name, "#{:02x}{:02x}{:02x}".format(*(int(v) for v in colours[number]))) for number, name in enumerate(classes)
    ]
