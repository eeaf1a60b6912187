"""What published code computes and golden cases hold, but no stage of ours needs: for the comparison alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor
from wsseg_datasets.voc_xml import Annotated

from wsseg_cli.data.transforms import CropBox
from wsseg_cli.ops.cam import EPSILON
from wsseg_cli.ops.pooling import cells_in_boxes
from wsseg_cli.types import IntArray

Float64Array = npt.NDArray[np.float64]


def merge_crops(masks: Tensor, coords: Tensor, size: tuple[int, int], gate: Tensor, *, flip: bool) -> Tensor:
    """Return one score map (1+C, H, W) from overlapping crops of a padded image, averaged where they overlap.

    masks: (V, 1+C, h, w); coords: (V, 6) top, bottom, left, right of the crop in the padded image, then the image's top
    and left in it; gate: (C,) bool or 0/1. flip: of two views of a crop the first is the mirror image.
    """
    rows = coords.long().tolist()
    height, width = max(row[1] for row in rows), max(row[3] for row in rows)
    total = masks.new_zeros(masks.shape[1], height, width)
    count = masks.new_zeros(height, width)
    for index, (mask, (top, bottom, left, right, _, _)) in enumerate(zip(masks, rows, strict=True)):
        total[:, top:bottom, left:right] += mask.flip(-1) if flip and index % 2 == 0 else mask
        count[top:bottom, left:right] += 1
    top, left = rows[0][4:]
    merged = (total / count)[:, top : top + size[0], left : left + size[1]]
    return torch.cat([merged[:1], merged[1:] * gate.to(merged.dtype)[:, None, None]])


def picture_norm(maps: Tensor) -> Tensor:
    """Return maps (C, h, w) as SEAM draws them: like `min_max_norm`, but divided by the maximum + 1e-5.

    A map without a positive value is -1 everywhere.
    """
    rectified = F.relu(maps)
    low = rectified.amin((1, 2), keepdim=True)
    kept = torch.where(rectified < low + EPSILON, torch.zeros_like(rectified), rectified)
    return (kept - low - EPSILON) / (rectified.amax((1, 2), keepdim=True) + EPSILON)


@dataclass(frozen=True)
class CenterCrop:
    """The central square window; smaller images are padded on both sides (`Crop` says with what).

    rounding: half of an odd rest goes to the even number (PSA), or the window up and left (RS+EPM).
    """

    side: int
    rounding: Literal["even", "down"] = "even"

    def draw(self, rng: np.random.Generator | None, size: tuple[int, int]) -> CropBox:
        """Return the window; nothing is random."""
        height, width = size
        offsets = []
        for length in (height, width):
            room = length - self.side
            offset = room // 2 if self.rounding == "down" else round(abs(room) / 2) * (1 if room > 0 else -1)
            offsets.append((max(offset, 0), max(-offset, 0)))
        (top, canvas_top), (left, canvas_left) = offsets
        return CropBox(self.side, top, left, canvas_top, canvas_left, min(height, self.side), min(width, self.side))


def average_in_boxes(maps: Tensor, boxes: Tensor, image_size: int) -> Tensor:
    """Return the mean over the unpadded part of each crop, (N, C), of maps (N, C, h, w) (DHR's training code).

    boxes: (N, 4) pixels xmin, ymin, xmax, ymax of the image inside its padded crop, ends exclusive; image_size: side of
    the crop. Every end v maps to floor(v / image_size * side of the map); a box that would be empty keeps one cell.
    """
    inside = cells_in_boxes(boxes, image_size, (maps.shape[2], maps.shape[3])).to(maps.dtype)[:, None]
    return (maps * inside).sum((2, 3)) / inside.sum((2, 3))


@dataclass(frozen=True)
class LabelScore:
    """Mean precision and recall over classes and their F1, in percent, at the best of `thresholds`.

    Attributes:
        threshold: the best one, the lowest among equals.
        precision: mean over classes at that threshold.
        recall: likewise.
        f1: harmonic mean of the two.
        curve: (T,) F1 at every threshold.
    """

    threshold: float
    precision: float
    recall: float
    f1: float
    curve: Float64Array


def best_label_threshold(
    probabilities: npt.NDArray[Any], labels: npt.NDArray[Any], thresholds: Sequence[float], eps: float = 1e-5
) -> LabelScore:
    """Return the best class-wise F1 of multi-label predictions (RecurSeed's evaluator).

    probabilities: (N, C) in [0, 1]; labels: (N, C) multi-hot. A class is predicted where its probability is at or
    above the threshold. eps: added to every denominator.
    """
    truth = labels > 0
    rows = []
    for threshold in thresholds:
        predicted = probabilities >= threshold
        hits = (predicted & truth).sum(0)
        precision = np.mean(hits / (predicted.sum(0) + eps)) * 100
        recall = np.mean(hits / (truth.sum(0) + eps)) * 100
        rows.append((precision, recall, 2 * precision * recall / (precision + recall + eps)))
    curve = np.asarray([row[2] for row in rows])
    best = int(curve.argmax())
    precision, recall, f1 = rows[best]
    return LabelScore(float(thresholds[best]), float(precision), float(recall), float(f1), curve)


def short_side_size(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Return (H, W) after the shorter side has become `shorter`; the other rounds half to even."""
    height, width = size
    if width < height:
        return max(1, round(height * shorter / width)), shorter
    return shorter, max(1, round(width * shorter / height))


def boxes_of(objects: Iterable[Annotated]) -> IntArray:
    """Return the boxes of those that have one as (N, 4) int64: left, top, right, bottom."""
    return np.array([entry.box for entry in objects if entry.box is not None], np.int64).reshape(-1, 4)
