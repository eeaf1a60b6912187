"""SEPL's rule: class-agnostic proposals that agree with a class of a mask take its label."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from wsseg_cli.data.proposals import Proposals
from wsseg_cli.plugin import IGNORE, ByteArray

Rule = Literal["max_iou", "max_iou_imp", "max_iou_imp2"]
"""The published variants by their names. max_iou: a proposal of which more than half is in a class; pixels of the
class that no such proposal covers are lost. max_iou_imp: those that no proposal at all covers stay. max_iou_imp2: also
proposals that hold 85 % of a class."""


def vote(
    mask: ByteArray,
    proposals: Proposals,
    classes: int,
    rule: Rule = "max_iou_imp2",
    *,
    in_class: float = 0.5,
    of_class: float = 0.85,
    max_share: float | None = None,
    keep_ignored: bool = False,
) -> ByteArray:
    """Return the (H, W) mask after its classes, in ascending order, have taken proposals.

    A proposal belongs to the first class that it agrees with; later classes do not see it. Where proposals of two
    classes overlap, the higher class wins. Pixels of 255 and of values above `classes` become background, as published.

    mask: (H, W) of values as in `ClassNames`; proposals: of its size. in_class, of_class: the share of the proposal
    that must be exceeded, and the share of the class that must be reached. max_share: proposals of more than this share
    of the image are skipped; this guard is ours, not in the published rule. keep_ignored: 255 stays where no proposal
    was taken.
    """
    areas = proposals.areas
    free = np.ones(len(proposals), bool) if max_share is None else areas <= max_share * mask.size
    free &= areas > 0
    out = np.zeros_like(mask)
    taken = np.zeros(mask.shape, bool)
    for value in range(1, classes + 1):
        here: npt.NDArray[np.bool_] = mask == value
        count = int(here.sum())
        if not count:
            continue
        inside = proposals.overlaps(here)
        agrees = inside / np.maximum(areas, 1) > in_class
        if rule == "max_iou_imp2":
            agrees |= inside / count >= of_class
        agrees &= free
        covered = proposals.union(agrees)
        taken |= covered
        out[covered] = value
        if rule != "max_iou":
            out[here & ~proposals.union(free)] = value
        free &= ~agrees
    if keep_ignored:
        out[(mask == IGNORE) & ~taken] = IGNORE
    return out
