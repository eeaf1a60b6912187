from __future__ import annotations

import itertools

import numpy as np
import pytest

from wsseg_cli.ops.windows import GRID, blended, spans, weights

SIZES = [1, 100, 256, 257, 640, 1000, 4100]


@pytest.mark.parametrize("length", SIZES)
@pytest.mark.parametrize(("tile", "overlap"), [(256, 0), (256, 128), (1024, 128), (1024, 700), (300, 37)])
def test_windows_cover_a_side(length: int, tile: int, overlap: int) -> None:
    places = spans(length, tile, overlap)
    assert places[0][0] == 0 and places[-1][1] == length
    assert all(start % GRID == 0 and 0 < stop - start <= tile for start, stop in places)
    for (first, end), (second, after) in itertools.pairwise(places):
        assert first < second <= end - overlap and end < after
    total = np.zeros(length)
    for (start, stop), share in zip(places, weights(places, overlap), strict=True):
        total[start:stop] += share
        if start:
            assert not share[: overlap // 4].any()
        if stop < length:
            assert not share[len(share) - overlap // 4 :].any()
    np.testing.assert_allclose(total, 1, atol=1e-6)


@pytest.mark.parametrize("size", [(64, 64), (300, 700), (641, 257), (1100, 513)])
@pytest.mark.parametrize(("tile", "overlap"), [(256, 64), (256, 128), (512, 300)])
def test_blending_gives_back_what_windows_agree_on(size: tuple[int, int], tile: int, overlap: int) -> None:
    whole = np.random.default_rng(0).normal(size=(3, *size)).astype(np.float32)
    seen = np.zeros(size, int)
    largest = 0
    for rows, columns, part in blended(size, tile, overlap, lambda r, c: whole[:, r[0] : r[1], c[0] : c[1]]):
        place = np.s_[rows[0] : rows[1], columns[0] : columns[1]]
        np.testing.assert_allclose(part, whole[(slice(None), *place)], atol=1e-5)
        seen[place] += 1
        largest = max(largest, part.shape[1], part.shape[2])
    assert (seen == 1).all() and largest <= tile


def test_what_a_window_says_near_its_border_does_not_count() -> None:
    def wrong_at_borders(rows: tuple[int, int], columns: tuple[int, int]) -> np.ndarray:
        found = np.ones((1, rows[1] - rows[0], columns[1] - columns[0]), np.float32)
        for side, (start, stop), end in ((1, rows, 600), (2, columns, 600)):
            view = np.moveaxis(found, side, 0)
            view[: 32 if start else 0] = 1e30
            view[len(view) - (32 if stop < end else 0) :] = 1e30
        return found

    for _, _, part in blended((600, 600), 256, 128, wrong_at_borders):
        np.testing.assert_allclose(part, 1, atol=1e-6)
