"""Large images in overlapping windows, whose scores are blended: memory for one window and a strip of overlap.

The outer quarter of a window's overlap counts for nothing; over the middle half the weight rises linearly. So a network
that sees no farther than that quarter gives the same scores as for the whole image, as long as its grid of cells falls
on the same pixels: windows begin at multiples of 128, so that views at scales in quarters begin at multiples of 32.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from ..types import FloatArray

GRID = 128
"""Pixels; every window begins at a multiple of it."""

Span = tuple[int, int]
"""First row or column, and the one after the last."""


def spans(length: int, tile: int, overlap: int) -> list[Span]:
    """Return the windows along one side: at most `tile` long, overlapping by `overlap` or more, ending with the side.

    tile: at least `overlap` + `GRID`.
    """
    step = (tile - overlap) // GRID * GRID
    starts = [0]
    while starts[-1] + tile < length:
        starts.append(min(starts[-1] + step, -(-(length - tile) // GRID) * GRID))
    return [(start, min(start + tile, length)) for start in starts]


def weights(places: list[Span], overlap: int) -> list[FloatArray]:
    """Return how much each window along one side counts, (stop - start,) float32; everywhere they add up to 1."""
    length = places[-1][1]
    total = np.zeros(length)
    raw = []
    for start, stop in places:
        inside = np.arange(start, stop) + 0.5
        rises = np.full(stop - start, 1.0) if start == 0 else _ramp(inside - start, overlap)
        falls = np.full(stop - start, 1.0) if stop == length else _ramp(stop - inside, overlap)
        raw.append(np.minimum(rises, falls))
        total[start:stop] += raw[-1]
    return [(one / total[start:stop]).astype(np.float32) for one, (start, stop) in zip(raw, places, strict=True)]


def _ramp(distance: np.ndarray, overlap: int) -> np.ndarray:
    """Return 0 up to a quarter of the overlap from a window's border, 1 from three quarters on."""
    return np.clip((distance - overlap / 4) / max(overlap / 2, 1e-9), 0.0, 1.0)


def blended(
    size: tuple[int, int], tile: int, overlap: int, scores: Callable[[Span, Span], FloatArray]
) -> Iterator[tuple[Span, Span, FloatArray]]:
    """Yield (rows, columns, scores (K, h, w)) of every part of a (H, W) image once, as soon as it is complete.

    scores: (rows, columns) of a window -> its (K, h, w) scores; called for one row of windows after another, left to
    right.
    """
    rows, columns = spans(size[0], tile, overlap), spans(size[1], tile, overlap)
    down, right = weights(rows, overlap), weights(columns, overlap)
    above: FloatArray | None = None  # scores from earlier rows of windows for the rows that are not finished
    for i, (top, bottom) in enumerate(rows):
        end = rows[i + 1][0] if i + 1 < len(rows) else bottom
        below: FloatArray | None = None
        before: FloatArray | None = None  # scores from earlier windows of this row for the unfinished columns
        for j, (left, stop) in enumerate(columns):
            block = scores((top, bottom), (left, stop)) * (down[i][:, None] * right[j][None])
            if before is not None:
                block[:, :, : before.shape[2]] += before
            until = columns[j + 1][0] if j + 1 < len(columns) else stop
            before = block[:, :, until - left :].copy()
            done = block[:, :, : until - left]
            if above is not None:
                done[:, : above.shape[1]] += above[:, :, left:until]
            if end < bottom:
                if below is None:
                    below = np.zeros((len(block), bottom - end, size[1]), np.float32)
                below[:, :, left:until] = done[:, end - top :]
            yield (top, end), (left, until), done[:, : end - top]
        above = below
