"""rank: which photos of a run to label next, by how little its score maps decide or how far its masks are apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from .data.index import Index, read_index
from .data.stores import MaskStore, ScoreStore
from .data.threads import in_threads
from .disk.records import OPEN, read_record
from .errors import DataError, RecipeError, StageError
from .metrics import Confusion
from .ops.masks import present_values, shares
from .recipe.background import BackgroundSettings
from .run.directory import RunDir
from .run.records import write_json
from .run.threshold import chosen
from .stages.hand_masks import hand_masks
from .types import ByteArray, FloatArray, ScoreMap

By = Literal["margin", "entropy", "disagreement"]
FILE = "rank.json"
"""The ranking that a run keeps, for `wsseg export masks --to label-studio`."""
CLOSE = 0.5
"""Two classes compete for a pixel where their shares of its scores are less than this apart."""
_REMEDY = "run `wsseg rank` again"


@dataclass(frozen=True)
class Ranked:
    """A photo of the ranking.

    Attributes:
        image_id, image: id and path of the photo.
        score: how unsure its masks are, in [0, 1]; the highest comes first.
        reason: which classes compete, and where.
    """

    image_id: str
    image: str
    score: float
    reason: str


@dataclass(frozen=True)
class Ranking:
    """All photos of some splits, least sure first, without those that a hand mask has, whose number is `labelled`."""

    by: By
    splits: tuple[str, ...]
    photos: tuple[Ranked, ...]
    labelled: int


class Kept(BaseModel):
    """rank.json: how sure each photo's masks are, in [0, 1], and the fingerprints of what that was computed from."""

    model_config = OPEN

    by: By
    reads: dict[Literal["cam", "refine", "pseudo", "train-seg"], str]
    scores: dict[str, Annotated[float, Field(ge=0, le=1)]]


_Look = Callable[[str], tuple[float, str]]
"""Image id -> score and reason."""


def rank(run: RunDir, by: By, split: str | None = None, against: RunDir | None = None) -> Ranking:
    """Return the ranking of a run's photos and keep it in the run.

    by: "margin", 1 - the gap between the two highest shares of a pixel's scores, and "entropy" of all its shares, both
    averaged over the pixels of the score maps, background as `pseudo` scores it (Settles, 2009); "disagreement",
    1 - mean IoU of the pseudo-mask and the network's mask, or with `against` of the network's masks of two runs.

    Raises:
        RecipeError: options that do not go together. StageError: what it reads is missing or stale. DataError: broken
            files, or runs of other photos or classes.
    """
    if against is not None and by != "disagreement":
        raise RecipeError(f"--against {against.path}: of --by disagreement, not of {by}")
    index = read_index(run.folder("prepare"))
    splits = (split,) if split else run.recipe.recipe.dataset.train
    labelled = hand_masks(run.recipe, index)
    samples = index.samples(*splits)
    open_ones = [sample for sample in samples if sample.image_id not in labelled]
    if not open_ones:
        raise StageError(f"all {len(samples)} images of {', '.join(splits)} have a hand mask: nothing is left to label")
    reads = _reads(run, by, against)
    if by == "disagreement":
        look = _disagreement(run, index, splits, against)
    else:
        look = _indecision(run, index, splits, by)
    found = in_threads(look, [sample.image_id for sample in open_ones])
    photos = [Ranked(s.image_id, str(s.image), *said) for s, said in zip(open_ones, found, strict=True)]
    photos.sort(key=lambda photo: (-photo.score, photo.image_id))
    ranking = Ranking(by, splits, tuple(photos), len(samples) - len(open_ones))
    sure = {photo.image_id: round(1 - photo.score, 6) for photo in photos}
    write_json(run.path / FILE, {"by": by, "reads": _fingerprints(run, reads), "scores": sure})
    return ranking


def kept_scores(run: RunDir) -> tuple[Mapping[str, float], str]:
    """Return how sure each photo's masks are by the ranking that a run keeps, and what is to be said of that.

    Raises:
        DataError: a damaged record.
    """
    kept = read_record(run.path / FILE, Kept, _REMEDY)
    if kept is None:
        return {}, ""
    if kept.reads != _fingerprints(run, list(kept.reads)):
        return {}, f"{run.path / FILE} is of other results than these and gives no scores; {_REMEDY}"
    return kept.scores, f"scores of {run.path / FILE}, by {kept.by}"


def _reads(run: RunDir, by: str, against: RunDir | None) -> list[str]:
    if by != "disagreement":
        return ["refine" if run.recipe.recipe.refine else "cam"]
    return ["train-seg"] if against else ["pseudo", "train-seg"]


def _fingerprints(run: RunDir, stages: Sequence[str]) -> dict[str, str]:
    return {stage: (run.done(stage) or {}).get("fingerprint", "") for stage in stages}


def _indecision(run: RunDir, index: Index, splits: Sequence[str], by: str) -> _Look:
    """Return the look at a score map: the mean over its pixels of what its classes leave open."""
    reads = "refine" if run.recipe.recipe.refine else "cam"
    run.require(reads, splits)
    store, (threshold, power) = ScoreStore(run.folder(reads)), _background(run)

    def look(image_id: str) -> tuple[float, str]:
        scores = store[image_id]
        if len(scores.classes) == 0:
            return 0.0, "no class in question"
        own = replace(scores, size=(int(scores.scores.shape[1]), int(scores.scores.shape[2])))
        part = shares(own.full(threshold, power=power))
        order = np.argsort(-part, axis=0, kind="stable")[:2]
        first, second = np.take_along_axis(part, order, 0)
        if by == "margin":
            value = 1 - (first - second)
        else:
            value = -(part * np.log(np.maximum(part, 1e-12))).sum(0) / np.log(len(part))
        return round(float(value.mean(dtype=np.float64)), 6), _rivals(scores, order, first - second, index)

    return look


def _rivals(scores: ScoreMap, order: npt.NDArray[np.int64], gap: FloatArray, index: Index) -> str:
    """Return in words which two classes compete for most pixels. order: (2, h, w) their rows, gap: (h, w)."""
    rows = np.sort(order[:, gap < CLOSE], axis=0)
    if not rows.size:
        return "no two classes are close"
    pairs, counts = np.unique(rows, axis=1, return_counts=True)
    values = present_values(scores.classes)[pairs[:, counts.argmax()]]
    names = " or ".join(index.classes.with_background[int(value)] for value in values[::-1])
    return f"{names} in {100 * counts.max() / gap.size:.0f} % of its pixels"


def _background(run: RunDir) -> tuple[float | None, float | None]:
    """Return threshold and power of the background, both None where the maps bring their own."""
    pseudo = run.recipe.recipe.pseudo
    if pseudo is None:
        raise StageError("margin and entropy need a background score: the recipe has no pseudo section")
    if isinstance(pseudo.background, BackgroundSettings):
        return pseudo.background.constants[0], pseudo.background.power
    found = chosen(run.folder("pseudo")) if pseudo.background == "auto" else None
    if pseudo.background == "auto" and found is None:
        raise StageError("pseudo.background: auto has not chosen a threshold yet: run `wsseg pseudo` first")
    return (found.threshold if found else None), None


def _disagreement(run: RunDir, index: Index, splits: Sequence[str], against: RunDir | None) -> _Look:
    """Return the look at two masks: 1 - their mean IoU, and where they differ most."""
    ours = _network_masks(run, index, splits)
    names = ("pseudo-mask", "network")
    if against is None:
        run.require("pseudo", splits)
        first, second = dict.fromkeys(ours, MaskStore(run.folder("pseudo"))), ours
    else:
        other = read_index(against.folder("prepare"))
        if tuple(other.classes) != tuple(index.classes):
            raise DataError(f"{against.path} has other classes than {run.path}")
        first, second = ours, _network_masks(against, other, splits)
        names = (run.path.name, against.path.name if against.path.name != run.path.name else str(against.path))
        if lacking := [image_id for image_id in ours if image_id not in second]:
            raise DataError(f"{len(lacking)} images are not in {against.path}, such as {lacking[0]!r}")

    def look(image_id: str) -> tuple[float, str]:
        size = index.size(image_id)
        masks = [side[image_id].read(image_id, index.classes, size) for side in (first, second)]
        return _apart(masks[0], masks[1], index, names)

    return look


def _apart(one: ByteArray, other: ByteArray, index: Index, names: tuple[str, str]) -> tuple[float, str]:
    counts = Confusion(len(index.classes), "drop")
    counts.add(one, other)
    apart = counts.matrix.copy()
    np.fill_diagonal(apart, 0)
    iou = counts.mean_iou()
    if not apart.any():
        return 0.0, "the two agree"
    a, b = np.unravel_index(int(apart.argmax()), apart.shape)
    words = [index.classes.with_background[int(value)] for value in (a, b)]
    return (
        round(1 - iou, 6),
        f"{names[0]} says {words[0]}, {names[1]} says {words[1]} in {100 * apart.max() / one.size:.0f} % of its pixels",
    )


def _network_masks(run: RunDir, index: Index, splits: Sequence[str]) -> dict[str, MaskStore]:
    """Return the store of each image's mask of the network, as `eval` predicted it.

    Raises:
        StageError: the network is missing or stale, or `eval` has not predicted a split.
    """
    run.require("train-seg")
    stores: dict[str, MaskStore] = {}
    for split in splits:
        store = MaskStore(run.folder("eval") / f"seg-{split}")
        ids = [sample.image_id for sample in index.samples(split)]
        if run.changes("eval") or store.missing(ids):
            raise StageError(
                f"{store.folder}: no masks of the network; run `wsseg eval --what seg --split {split}` first"
            )
        stores |= dict.fromkeys(ids, store)
    return stores
