"""Sky, hills and the bands of ground."""

from __future__ import annotations

import numpy as np

from wsseg_cli.types import FloatArray

from .layout import Band, Plan
from .texture import Colour, fractal, vary


def paint_backdrop(rng: np.random.Generator, plan: Plan) -> FloatArray:
    """Return everything behind the objects, (H, W, 3) in 0..255."""
    image = _sky(rng, plan)
    _hills(rng, plan, image)
    grass = vary(rng, (100, 138, 68), 10)
    for band in plan.bands:
        image[band.top : band.bottom] = _ground(rng, band, plan.size, grass)
        if band.kind != "grass":
            image[band.top] *= 0.75
    return image


def _sky(rng: np.random.Generator, plan: Plan) -> FloatArray:
    width, height = plan.size
    top, low = vary(rng, (96, 150, 214), 16), vary(rng, (214, 224, 228), 9)
    depth = np.clip(np.linspace(0, 1, height, dtype=np.float32) * height / plan.horizon, 0, 1)[:, None, None]
    sky = np.broadcast_to(top + (low - top) * depth, (height, width, 3)).copy()
    cloud = np.clip(fractal(rng, height, width, 4, 4, 2.0) - 0.30, 0, 1)[..., None]
    return sky + (252 - sky) * np.minimum(cloud, 0.9)


def _hills(rng: np.random.Generator, plan: Plan, image: FloatArray) -> None:
    width, height = plan.size
    scale = height / 128
    columns, rows = np.arange(width), np.arange(height)[:, None]
    for rise, colour in ((9, (134, 158, 166)), (5, (98, 130, 104))):
        ridge = plan.horizon - scale * (rise + 5 * np.interp(columns, np.linspace(0, width, 7), rng.standard_normal(7)))
        if rise == 5:
            wood = np.interp(columns, np.linspace(0, width, 40), rng.random(40)) * rng.uniform(0.5, 3.0)
            ridge = ridge - scale * wood
        shade = 1 + 0.06 * fractal(rng, height, width, 12, 3)[..., None]
        hill = vary(rng, colour, 8) * shade
        where = rows > ridge[None]
        image[where] = hill[where]


def _ground(rng: np.random.Generator, band: Band, size: tuple[int, int], grass: Colour) -> FloatArray:
    width, height = size[0], band.bottom - band.top
    paint = {"grass": _grass, "water": _water, "road": _road, "rails": _rails}[band.kind]
    surface = paint(rng, height, width, size[1] / 128, grass)
    return surface * np.linspace(1.07, 0.95, height, dtype=np.float32)[:, None, None]


def _grass(rng: np.random.Generator, height: int, width: int, scale: float, grass: Colour) -> FloatArray:
    blades = np.clip(fractal(rng, height, width, max(8, height // 3), 2, 0.5), -1.2, 1.2)
    return grass * (1 + 0.14 * fractal(rng, height, width, 5, 3)[..., None] + 0.06 * blades[..., None])


def _water(rng: np.random.Generator, height: int, width: int, scale: float, grass: Colour) -> FloatArray:
    waves = fractal(rng, height, width, 8, 3, 6.0)[..., None]
    water = vary(rng, (72, 120, 148), 10) * (1 + 0.15 * waves)
    return water + 70 * np.clip(waves - 0.95, 0, 0.6)


def _road(rng: np.random.Generator, height: int, width: int, scale: float, grass: Colour) -> FloatArray:
    road = vary(rng, (116, 114, 114), 6) * (1 + 0.06 * fractal(rng, height, width, 8, 4)[..., None])
    thick, dash = max(1, round(2 * scale)), max(2, round(24 * scale))
    middle = height // 2
    painted = (np.arange(width) + rng.integers(dash)) % dash < 0.55 * dash
    road[middle : middle + thick, painted] = (228, 224, 208)
    road[min(height - 1, thick)] = road[min(height - 1, thick)] * 0.4 + 0.6 * 190
    return road


def _rails(rng: np.random.Generator, height: int, width: int, scale: float, grass: Colour) -> FloatArray:
    stones = rng.standard_normal((height, width, 1)).clip(-1.5, 1.5).astype(np.float32)
    bed = vary(rng, (136, 120, 104), 8) * (1 + 0.22 * stones)
    far, near = int(0.35 * height), int(0.62 * height)
    pitch = max(3, round(8 * scale))
    sleepers = (np.arange(width) + rng.integers(pitch)) % pitch < 0.4 * pitch
    bed[far : near + max(2, round(3 * scale)), sleepers] = (88, 64, 48)
    for row in (far, near):
        bed[row] = (208, 208, 214)
        bed[min(row + 1, height - 1)] = (70, 66, 66)
    return bed
