"""One scene from its two numbers: plan, paint, light, mask, saliency."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from wsseg_cli.types import ByteArray, FloatArray

from .backdrop import paint_backdrop
from .layer import OVERSAMPLE, Layer
from .layout import Plan, Thing, plan_scene
from .objects import CLASSES, SHAPES
from .saliency import saliency_map
from .texture import fractal

VISIBLE_SHARE = 0.25
VISIBLE_PIXELS = 40
"""An object of which less is visible is left out, so that nothing is labelled that cannot be found."""

NOISE = 5.0


@dataclass(frozen=True)
class Scene:
    """One drawn scene.

    Attributes:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) uint8, 0 background, then the classes; no ignored pixels.
        saliency: (H, W) uint8.
        labels: labels of the classes in the mask, ascending; never empty.
        ground: kinds of ground from the horizon to the front.
    """

    image: ByteArray
    mask: ByteArray
    saliency: ByteArray
    labels: tuple[int, ...]
    ground: tuple[str, ...]


def draw_scene(seed: int, index: int, size: tuple[int, int]) -> Scene:
    """Return scene `index` of data seed `seed`, a function of these numbers alone; size: (W, H) in pixels."""
    root = np.random.default_rng([seed, index])
    mask = np.zeros((size[1], size[0]), np.uint8)
    while not mask.any():
        plan_rng, paint_rng, light_rng, saliency_rng = root.spawn(4)
        plan = plan_scene(plan_rng, size)
        things, layers, pixels = _visible(*_draw(paint_rng, plan))
        for thing, covered in zip(things, pixels, strict=True):
            mask[covered] = CLASSES.index(thing.kind) + 1 if thing.kind in CLASSES else 0
    image = _light(light_rng, _paint(light_rng, plan, things, layers))
    return Scene(
        image=image,
        mask=mask,
        saliency=saliency_map(saliency_rng, things, pixels, size),
        labels=tuple(int(value) - 1 for value in np.unique(mask) if value),
        ground=tuple(band.kind for band in plan.bands),
    )


def _draw(rng: np.random.Generator, plan: Plan) -> tuple[list[Thing], list[Layer]]:
    layers = []
    for thing in plan.things:
        layer = Layer(plan.size, thing.x, thing.base, thing.height, thing.width, flipped=thing.flipped)
        SHAPES[thing.kind].draw(layer, rng, thing.width)
        layers.append(layer)
    return list(plan.things), layers


def _visible(things: list[Thing], layers: list[Layer]) -> tuple[list[Thing], list[Layer], list[npt.NDArray[np.bool_]]]:
    """Return the objects of which enough is visible, back to front, with their pixels."""
    kept: list[tuple[Thing, Layer, npt.NDArray[np.bool_]]] = []
    for thing, layer in zip(reversed(things), reversed(layers), strict=True):
        pixels = layer.mask()
        hidden = np.logical_or.reduce([np.zeros_like(pixels), *(front for _, _, front in kept)])
        seen = int((pixels & ~hidden).sum())
        enough = VISIBLE_PIXELS * (layer.size[1] / 128) ** 2
        if seen >= max(enough, VISIBLE_SHARE * pixels.sum()):
            kept.append((thing, layer, pixels))
    kept.reverse()
    return [thing for thing, _, _ in kept], [layer for _, layer, _ in kept], [pixels for _, _, pixels in kept]


def _paint(rng: np.random.Generator, plan: Plan, things: list[Thing], layers: list[Layer]) -> FloatArray:
    """Return the scene before light and noise, (H, W, 3) in 0..255."""
    width, height = plan.size
    large = (width * OVERSAMPLE, height * OVERSAMPLE)
    behind = Image.fromarray(paint_backdrop(rng, plan).clip(0, 255).astype(np.uint8))
    canvas = np.asarray(behind.resize(large, Image.Resampling.BICUBIC), np.float32)
    texture = fractal(rng, large[1], large[0], 24, 3)[..., None]
    rows = np.arange(large[1], dtype=np.float32)
    for thing, layer in zip(things, layers, strict=True):
        shadow = Layer(plan.size, thing.x, thing.base, thing.height)
        shadow.ellipse(thing.width / 2, -0.01, thing.width / 2, 0.06, (0, 0, 0))
        canvas = canvas * (1 - 0.38 * shadow.coverage(blur=2))
        rise = np.clip((layer.ground - rows) / layer.unit, 0, 1)[:, None, None]
        outline = 0.62 + 0.38 * layer.coverage(shrink=1)
        lit = layer.colour() * (0.76 + 0.36 * rise) * (1 + 0.08 * texture) * outline
        coverage = layer.coverage()
        canvas = canvas * (1 - coverage) + lit * coverage
    small = Image.fromarray(canvas.clip(0, 255).astype(np.uint8)).resize(plan.size, Image.Resampling.BOX)
    return np.asarray(small, np.float32)


def _light(rng: np.random.Generator, image: FloatArray) -> ByteArray:
    height, width = image.shape[:2]
    fall = 1 + rng.uniform(-0.12, 0.12) * np.linspace(-1, 1, width)
    lit = image * (rng.uniform(0.84, 1.12) * fall)[None, :, None] * (1 + rng.normal(0, 0.03, 3))
    grain = rng.normal(0, 0.8 * NOISE, (height, width, 1)) + rng.normal(0, 0.6 * NOISE, (height, width, 3))
    return (lit + grain + rng.normal(0, 4)).clip(0, 255).astype(np.uint8)
