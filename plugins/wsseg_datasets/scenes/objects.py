"""The drawings: two bodies that classes share, the parts that tell them apart, and two things of no class."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from .layer import Layer
from .texture import Colour, vary

PAINTS = ((178, 62, 54), (196, 158, 66), (70, 104, 158), (84, 136, 110), (206, 196, 176), (128, 92, 138))
FURS = ((112, 74, 46), (66, 54, 50), (176, 140, 100), (210, 202, 188), (146, 88, 56))
DARK = (38, 34, 36)


@dataclass(frozen=True)
class Shape:
    """How a kind of object is drawn and how large it may be.

    Attributes:
        draw: draws it on a layer; called with layer, rng and the width.
        widths: range of the width, in heights.
        heights: range of the height, in heights of the scene; drawn log-uniformly.
        ground: what it stands on; empty: any land.
    """

    draw: Callable[[Layer, np.random.Generator, float], None]
    widths: tuple[float, float]
    heights: tuple[float, float]
    ground: str = ""


def _paint(rng: np.random.Generator) -> Colour:
    return vary(rng, PAINTS[rng.integers(len(PAINTS))], 14)


def _fur(rng: np.random.Generator) -> Colour:
    return vary(rng, FURS[rng.integers(len(FURS))], 10)


def _box(layer: Layer, rng: np.random.Generator, u0: float, v0: float, u1: float, v1: float, paint: Colour) -> None:
    """Draw the body that train, bus, house, a boat's cabin and the kiosk share: ribs, a stripe, a row of windows."""
    height = v1 - v0
    layer.rectangle(u0, v0, u1, v1, paint)
    for u in np.arange(u0 + 0.11, u1 - 0.02, 0.11):
        layer.rectangle(u, v0, u + 0.018, v1, paint * 0.86)
    layer.rectangle(u0, v0 + 0.12 * height, u1, v0 + 0.20 * height, paint * 0.7)
    glass = vary(rng, (74, 92, 112), 8)
    count = max(1, int((u1 - u0) / 0.34))
    pitch = (u1 - u0) / count
    low, high = v0 + 0.50 * height, v0 + 0.82 * height
    for i in range(count):
        left, right = u0 + (i + 0.2) * pitch, u0 + (i + 0.8) * pitch
        layer.rectangle(left - 0.015, low - 0.015, right + 0.015, high + 0.015, paint * 0.62)
        layer.rectangle(left, low, right, high, glass)
        layer.polygon([(left, high), (left + 0.3 * pitch, high), (left, low + 0.12 * height)], glass * 1.35)


def _beast(layer: Layer, rng: np.random.Generator, fur: Colour) -> None:
    """Draw the body that cow and horse share, 1.2 wide: barrel, legs, tail, in some a few patches."""
    for u, far in ((0.30, True), (0.80, True), (0.16, False), (0.95, False)):
        shade = 0.70 if far else 0.9
        layer.polygon(
            [(u - 0.02, 0.5), (u + 0.11, 0.5), (u + 0.085, 0.2), (u + 0.085, 0), (u, 0), (u, 0.2)], fur * shade
        )
        layer.rectangle(u - 0.005, 0.0, u + 0.09, 0.05, fur * 0.4)
    layer.ellipse(0.58, 0.56, 0.52, 0.21, fur)
    layer.ellipse(0.22, 0.58, 0.19, 0.19, fur)
    layer.ellipse(0.92, 0.58, 0.18, 0.19, fur)
    layer.polygon([(0.06, 0.70), (0.0, 0.60), (-0.03, 0.28), (0.035, 0.28), (0.09, 0.58)], fur * 0.7)
    if rng.random() < 0.35:
        patch = np.clip(fur * (0.5 if fur.mean() > 120 else 1.9), 30, 225)
        for u in (0.32, 0.56, 0.78):
            layer.ellipse(
                u + rng.normal(0, 0.03),
                rng.uniform(0.52, 0.62),
                rng.uniform(0.06, 0.11),
                rng.uniform(0.05, 0.09),
                patch,
            )


def draw_train(layer: Layer, rng: np.random.Generator, width: float) -> None:
    """Draw a coach with a yellow cab and a pantograph."""
    paint = _paint(rng)
    w = width - 0.21
    layer.rectangle(0.05, 0.03, w - 0.12, 0.14, (52, 50, 52))
    for u in (0.22, 0.48, w - 0.62, w - 0.36):
        layer.ellipse(u, 0.07, 0.07, 0.07, (44, 42, 44))
    _box(layer, rng, 0, 0.12, w, 0.86, paint)
    layer.rectangle(0.02, 0.86, w - 0.1, 0.91, paint * 0.6)
    layer.polygon(
        [(w - 0.02, 0.06), (w + 0.21, 0.06), (w + 0.21, 0.46), (w + 0.07, 0.86), (w - 0.02, 0.86)], (236, 198, 38)
    )
    layer.polygon([(w + 0.02, 0.52), (w + 0.165, 0.52), (w + 0.07, 0.80), (w + 0.02, 0.80)], (34, 40, 52))
    layer.rectangle(w - 0.02, 0.06, w + 0.21, 0.16, (70, 66, 66))
    layer.ellipse(w + 0.13, 0.30, 0.055, 0.055, (255, 250, 220))
    arm = [(0.45, 0.90), (0.25, 1.02), (0.42, 1.02), (0.44, 0.99), (0.31, 0.99), (0.50, 0.90)]
    layer.polygon([(w - u, v) for u, v in arm], (50, 50, 54))


def draw_bus(layer: Layer, rng: np.random.Generator, width: float) -> None:
    """Draw a coach with two wheels, light hubs and an orange sign."""
    _box(layer, rng, 0, 0.13, width, 0.97, _paint(rng))
    for u in (0.32, width - 0.36):
        layer.ellipse(u, 0.15, 0.16, 0.15, DARK)
        layer.ellipse(u, 0.15, 0.085, 0.08, (208, 208, 202))
        layer.ellipse(u, 0.15, 0.03, 0.03, (96, 96, 96))
    layer.rectangle(width - 0.34, 0.85, width - 0.02, 0.95, (248, 150, 28))
    layer.rectangle(width - 0.29, 0.885, width - 0.08, 0.915, (90, 50, 10))


def draw_house(layer: Layer, rng: np.random.Generator, width: float) -> None:
    """Draw walls under a red-brown gable roof with a chimney."""
    _box(layer, rng, 0, 0, width, 0.70, _paint(rng))
    roof = vary(rng, (156, 66, 44), 8)
    layer.rectangle(0.68 * width, 0.72, 0.80 * width, 1.0, (112, 62, 52))
    layer.rectangle(0.66 * width, 0.96, 0.82 * width, 1.0, (84, 46, 40))
    layer.polygon([(-0.08, 0.68), (width + 0.08, 0.68), (0.5 * width, 0.98)], roof)
    for share in (0.33, 0.62):
        inset = share * (0.5 * width + 0.08)
        v = 0.68 + 0.30 * share
        layer.polygon(
            [
                (-0.08 + inset, v),
                (width + 0.08 - inset, v),
                (width + 0.06 - inset, v + 0.02),
                (-0.06 + inset, v + 0.02),
            ],
            roof * 0.8,
        )
    layer.polygon([(-0.08, 0.68), (width + 0.08, 0.68), (width + 0.05, 0.725), (-0.05, 0.725)], roof * 0.65)


def draw_boat(layer: Layer, rng: np.random.Generator, width: float) -> None:
    """Draw a hull with a cabin, a mast with a white and red pennant, and a life-ring."""
    paint = _paint(rng)
    layer.polygon([(0.16, 0), (width - 0.26, 0), (width, 0.34), (0, 0.34)], paint)
    layer.polygon([(0.02, 0.27), (width - 0.04, 0.27), (width, 0.34), (0, 0.34)], paint * 0.7)
    layer.polygon([(0.16, 0), (width - 0.26, 0), (width - 0.20, 0.06), (0.12, 0.06)], paint * 0.5)
    _box(layer, rng, 0.25, 0.34, width * 0.72, 0.72, _paint(rng))
    mast = width * 0.8
    layer.rectangle(mast, 0.34, mast + 0.04, 1.12, (232, 226, 214))
    layer.polygon([(mast, 1.12), (mast - 0.38, 1.01), (mast, 0.89)], (238, 238, 234))
    layer.polygon([(mast, 1.06), (mast - 0.26, 1.01), (mast, 0.96)], (208, 36, 44))
    layer.ellipse(width * 0.86, 0.19, 0.09, 0.09, (242, 238, 228))
    layer.ellipse(width * 0.86, 0.19, 0.045, 0.045, (216, 80, 38))


def draw_cow(layer: Layer, rng: np.random.Generator, width: float) -> None:
    """Draw a beast with a broad head, pale horns and a pink muzzle."""
    fur = _fur(rng)
    _beast(layer, rng, fur)
    layer.ellipse(1.08, 0.66, 0.16, 0.12, fur * 0.95, -0.5)
    layer.ellipse(1.06, 0.74, 0.09, 0.04, fur * 0.75, 0.35)
    layer.polygon([(1.13, 0.72), (1.05, 0.84), (1.08, 0.93), (1.19, 0.76)], (240, 234, 212))
    layer.polygon([(1.24, 0.74), (1.37, 0.84), (1.37, 0.92), (1.31, 0.70)], (240, 234, 212))
    layer.ellipse(1.22, 0.60, 0.135, 0.165, fur, -0.35)
    layer.ellipse(1.28, 0.48, 0.105, 0.09, (230, 160, 152))
    layer.ellipse(1.26, 0.47, 0.016, 0.02, (120, 60, 60))
    layer.ellipse(1.33, 0.48, 0.016, 0.02, (120, 60, 60))
    layer.ellipse(1.25, 0.65, 0.024, 0.026, (20, 18, 18))


def draw_horse(layer: Layer, rng: np.random.Generator, width: float) -> None:
    """Draw a beast with a slanted neck, a black mane and a long head."""
    fur = _fur(rng)
    _beast(layer, rng, fur)
    layer.polygon([(0.82, 0.68), (1.06, 0.46), (1.33, 0.92), (1.14, 1.02)], fur)
    layer.polygon([(0.78, 0.70), (0.92, 0.69), (1.20, 1.03), (1.05, 1.07)], (38, 28, 26))
    layer.polygon([(1.12, 0.98), (1.15, 1.13), (1.22, 0.99)], fur * 0.8)
    layer.polygon(
        [(1.14, 0.92), (1.20, 1.03), (1.30, 0.99), (1.50, 0.79), (1.47, 0.69), (1.38, 0.69), (1.24, 0.80)], fur
    )
    layer.polygon([(1.42, 0.87), (1.50, 0.79), (1.47, 0.69), (1.38, 0.69)], fur * 0.5)
    layer.ellipse(1.27, 0.93, 0.022, 0.026, (20, 18, 18))


def draw_kiosk(layer: Layer, rng: np.random.Generator, width: float) -> None:
    """Draw the box alone under a flat roof line: it has no class."""
    paint = _paint(rng)
    _box(layer, rng, 0, 0, width, 0.8, paint)
    layer.rectangle(-0.03, 0.8, width + 0.03, 0.86, paint * 0.6)


def draw_rock(layer: Layer, rng: np.random.Generator, width: float) -> None:
    """Draw a rock in the beasts' colours: it has no class."""
    fur = _fur(rng)
    turn = np.linspace(0, np.pi, 12)
    radius = 1 + rng.normal(0, 0.07, 12)
    outline = np.stack([width / 2 - width / 2 * radius * np.cos(turn), 0.62 * radius * np.sin(turn)], axis=1)
    layer.polygon(outline, fur)
    layer.polygon([*outline[3:7], (width * 0.5, 0.3)], np.clip(fur * 1.16, 0, 245))
    layer.polygon([(width * 0.1, 0), (width * 0.9, 0), (width * 0.7, 0.12), (width * 0.3, 0.10)], fur * 0.75)


CLASSES = ("train", "bus", "house", "boat", "cow", "horse")
"""Names of the classes in the order of their labels."""

DISTRACTORS = ("kiosk", "rock")
"""Things that look like a body of some class and belong to none."""

SHAPES = {
    "train": Shape(draw_train, (2.2, 3.2), (0.26, 0.80), "rails"),
    "bus": Shape(draw_bus, (1.6, 2.3), (0.26, 0.80), "road"),
    "house": Shape(draw_house, (0.9, 1.5), (0.26, 0.80), "grass"),
    "boat": Shape(draw_boat, (1.5, 2.1), (0.26, 0.80), "water"),
    "cow": Shape(draw_cow, (1.4, 1.4), (0.33, 0.88), "grass"),
    "horse": Shape(draw_horse, (1.5, 1.5), (0.33, 0.88), "grass"),
    "kiosk": Shape(draw_kiosk, (0.9, 2.2), (0.18, 0.50)),
    "rock": Shape(draw_rock, (0.9, 1.5), (0.18, 0.50)),
}
