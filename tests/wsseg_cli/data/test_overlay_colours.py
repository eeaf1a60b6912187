"""Colours over photos: what is farthest from each other and from grey is measured here, for three kinds of eyes."""

from __future__ import annotations

import numpy as np
import pytest

from wsseg_cli.data.overlay_colours import EYES, overlay_colours, overlay_palette, seen
from wsseg_cli.data.overlays import mask_overlay, score_overlay
from wsseg_cli.data.palette import palette
from wsseg_cli.types import ByteArray, FloatArray, ScoreMap

GREYS = np.repeat(np.arange(256)[:, None], 3, axis=1)


def closest_pair(colours: ByteArray) -> np.ndarray:
    """Return for each kind of eyes the smallest distance of two colours in OKLab, (3,)."""
    labs = seen(colours)
    away = np.linalg.norm(labs[:, :, None] - labs[:, None], axis=-1)
    return (away + np.eye(len(colours)) * 9).min(axis=(1, 2))


def closest_to_grey(colours: ByteArray) -> np.ndarray:
    """Return for each kind of eyes the smallest distance of a colour from any grey in OKLab, (3,)."""
    return np.linalg.norm(seen(colours)[:, :, None] - seen(GREYS)[:, None], axis=-1).min(axis=(1, 2))


def test_oklab_is_that_of_its_definition() -> None:
    labs = seen([[255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]])[0]
    want = [[1, 0, 0], [0.62796, 0.22486, 0.12585], [0.86644, -0.23389, 0.17950], [0.45201, -0.03246, -0.31153]]
    assert np.allclose(labs, want, atol=1e-4)


def test_grey_stays_grey_to_all_eyes() -> None:
    assert np.allclose(EYES.sum(axis=2), 1, atol=1e-5)


# usual eyes, without red, without green; a step of 0.02 is just visible on plain areas side by side
@pytest.mark.parametrize(
    ("count", "pairs", "grey"),
    [(2, (0.3, 0.3, 0.3), (0.15, 0.1, 0.1)), (20, (0.12, 0.06, 0.06), (0.08, 0.04, 0.04)), (80, (0.05, 0.03, 0.03), 0)],
)
def test_told_apart_by_all_eyes(count: int, pairs: tuple[float, ...], grey: tuple[float, ...]) -> None:
    colours = overlay_colours(count)
    assert (closest_pair(colours) >= pairs).all(), closest_pair(colours)
    assert (closest_to_grey(colours) >= grey).all(), closest_to_grey(colours)


@pytest.mark.parametrize("count", [7, 20, 80, 254])
def test_farther_apart_than_the_colours_of_mask_files(count: int) -> None:
    ours, theirs = overlay_colours(count), palette()[1 : count + 1]
    assert (closest_pair(ours) > 1.5 * closest_pair(theirs)).all()
    assert closest_to_grey(theirs).min() < 0.01 or count < 7
    assert (closest_to_grey(ours) > closest_to_grey(theirs)).all()


def test_a_class_keeps_its_colour_when_classes_are_added() -> None:
    assert np.array_equal(overlay_colours(254)[:20], overlay_colours(20))
    assert len({tuple(colour) for colour in overlay_colours(254).tolist()}) == 254


def test_every_class_is_seen_on_a_grey_photo() -> None:
    photo: ByteArray = np.full((1, 254, 3), 128, np.uint8)
    drawn = mask_overlay(photo, np.arange(1, 255, dtype=np.uint8)[None])[0]
    plain = mask_overlay(photo, np.zeros((1, 254), np.uint8))[0]
    assert (np.linalg.norm(seen(drawn) - seen(plain), axis=-1)[:, :20] > 0.03).all()
    assert len({tuple(colour) for colour in drawn.tolist()}) == 254


def test_values_of_masks_and_scores_share_their_colours() -> None:
    photo: ByteArray = np.zeros((1, 3, 3), np.uint8)
    mask = np.array([[0, 5, 255]], np.uint8)
    drawn = mask_overlay(photo, mask, opacity=1.0)
    assert drawn.tolist() == [[[0, 0, 0], overlay_palette(5)[5].tolist(), [255, 255, 255]]]
    maps: FloatArray = np.ones((1, 1, 3), np.float32)
    shown = score_overlay(photo, ScoreMap("a", np.array([4]), maps, (1, 3)))[0, 0]
    assert np.abs(shown - 0.8 * overlay_palette(5)[5]).max() <= 1
