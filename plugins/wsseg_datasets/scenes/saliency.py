"""A saliency map that is wrong the way saliency maps are: holes, missing objects, ground and things of no class."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from wsseg_cli.types import ByteArray, FloatArray

from .layout import Thing
from .objects import CLASSES
from .texture import fractal

MISSING = 0.08
HOLES = 0.5
GROUND = 0.35
DISTRACTOR = 0.35
EDGE = 2
BLUR = 1.2
HAZE = 8


def saliency_map(
    rng: np.random.Generator, things: list[Thing], masks: list[npt.NDArray[np.bool_]], size: tuple[int, int]
) -> ByteArray:
    """Return the saliency of a scene, (H, W) in 0..255.

    things, masks: the objects from back to front and the pixels of each, hidden ones included.
    """
    width, height = size
    levels = np.zeros((height, width), np.float32)
    for thing, mask in zip(things, masks, strict=True):
        salient = _object(rng, thing, mask)
        levels = np.where(mask, salient, np.maximum(levels, salient))
    scale = height / 128
    image = Image.fromarray((levels * 255).astype(np.uint8))
    grow = int(rng.integers(-EDGE, EDGE + 1))
    if grow:
        reach = 2 * max(1, round(abs(grow) * scale)) + 1
        image = image.filter((ImageFilter.MaxFilter if grow > 0 else ImageFilter.MinFilter)(reach))
    smooth = np.asarray(image.filter(ImageFilter.GaussianBlur(BLUR * scale)), np.float32)
    return (smooth + HAZE * fractal(rng, height, width, 5, 2)).clip(0, 255).astype(np.uint8)


def _object(rng: np.random.Generator, thing: Thing, mask: npt.NDArray[np.bool_]) -> FloatArray:
    """Return the levels in [0, 1] that one object adds; a missing one adds zeros, which also hide what is behind it."""
    salient = mask.astype(np.float32)
    length = thing.width * thing.height
    known = thing.kind in CLASSES
    if known and rng.random() < HOLES:
        for _ in range(rng.integers(1, 3)):
            centre = (thing.x + rng.uniform(0.15, 0.85) * length, thing.base - rng.uniform(0.2, 0.7) * thing.height)
            radii = (rng.uniform(0.14, 0.26) * length, rng.uniform(0.15, 0.32) * thing.height)
            salient[_ellipse(mask.shape, centre, radii)] = 0
    if known and rng.random() < GROUND:
        under = _ellipse(mask.shape, (thing.x + length / 2, thing.base), (0.62 * length, 0.26 * thing.height + 2))
        salient = np.maximum(salient, 0.85 * under)
    kept = rng.random() >= MISSING if known else rng.random() < DISTRACTOR
    return (salient * rng.uniform(0.75, 1.0) * kept).astype(np.float32)


def _ellipse(shape: tuple[int, ...], centre: tuple[float, float], radii: tuple[float, float]) -> npt.NDArray[np.bool_]:
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return ((columns - centre[0]) / radii[0]) ** 2 + ((rows - centre[1]) / radii[1]) ** 2 <= 1
