"""What stands where: the classes of a scene, its bands of ground, and the places of its objects. Draws nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .objects import CLASSES, DISTRACTORS, SHAPES

NUMBER_OF_LABELS = (0.50, 0.34, 0.16)
NUMBER_OF_DISTRACTORS = (0.25, 0.45, 0.30)
SECOND_INSTANCE = 0.30
SMALL = 0.34
ALONE = {"rails": 0.08, "road": 0.45, "water": 0.35}
"""How often a ground is in a scene that does not need it; rails hardly ever, so rails mean "train"."""


@dataclass(frozen=True)
class Band:
    """A horizontal strip of ground: rows top (inclusive) to bottom (exclusive)."""

    kind: str
    top: int
    bottom: int


@dataclass(frozen=True)
class Thing:
    """One object: its left end, ground line and height in pixels, its width in heights."""

    kind: str
    x: float
    base: float
    height: float
    width: float
    flipped: bool


@dataclass(frozen=True)
class Plan:
    """A scene before it is drawn; things stand from back to front."""

    size: tuple[int, int]
    horizon: int
    bands: tuple[Band, ...]
    things: tuple[Thing, ...]


def plan_scene(rng: np.random.Generator, size: tuple[int, int]) -> Plan:
    """Return the plan of one scene; size: (W, H) in pixels."""
    count = 1 + rng.choice(len(NUMBER_OF_LABELS), p=NUMBER_OF_LABELS)
    names = [CLASSES[i] for i in rng.permutation(len(CLASSES))[:count]]
    kinds = _grounds(rng, names)
    horizon = int(size[1] * rng.uniform(0.30, 0.44))
    bands = _bands(rng, kinds, horizon, size[1])
    standing = [name for name in names if SHAPES[name].ground in kinds]
    return Plan(size, horizon, bands, _things(rng, standing, bands, size))


def _grounds(rng: np.random.Generator, names: list[str]) -> list[str]:
    """Return the kinds of ground from the horizon to the front, water first, at most three on land."""
    needed = {SHAPES[name].ground for name in names}
    kinds = [kind for kind in ALONE if kind in needed]
    kinds += [kind for kind, share in ALONE.items() if kind not in needed and rng.random() < share]
    if not kinds or "grass" in needed or rng.random() < 0.5:
        kinds.append("grass")
    land = [kind for kind in kinds if kind != "water"]
    land = [land[i] for i in rng.permutation(len(land))]
    land.sort(key=lambda kind: kind not in needed)
    land = land[:3]
    return (["water"] if "water" in kinds else []) + [land[i] for i in rng.permutation(len(land))]


def _bands(rng: np.random.Generator, kinds: list[str], horizon: int, height: int) -> tuple[Band, ...]:
    shares = [rng.uniform(0.8, 1.3) * (0.75 if kind in ("rails", "road") else 1.0) for kind in kinds]
    cuts = horizon + (height - horizon) * np.cumsum([0.0, *shares]) / sum(shares)
    rows = [int(cut) for cut in cuts]
    bands = [Band(kind, rows[i], rows[i + 1]) for i, kind in enumerate(kinds)]
    last = bands[-1]
    if len(bands) < 4 and last.kind in ("rails", "road") and last.bottom - last.top > 0.2 * height:
        verge = last.bottom - int((last.bottom - last.top) * 0.3)
        bands[-1:] = [Band(last.kind, last.top, verge), Band("grass", verge, last.bottom)]
    return tuple(bands)


def _things(
    rng: np.random.Generator, names: list[str], bands: tuple[Band, ...], size: tuple[int, int]
) -> tuple[Thing, ...]:
    wanted: list[tuple[str, float]] = []
    for name in names:
        height = _height(rng, name, size)
        wanted.append((name, height))
        if height < SMALL * size[1] and rng.random() < SECOND_INSTANCE:
            wanted.append((name, height * rng.uniform(0.8, 1.1)))
    for _ in range(rng.choice(len(NUMBER_OF_DISTRACTORS), p=NUMBER_OF_DISTRACTORS)):
        kind = DISTRACTORS[rng.integers(len(DISTRACTORS))]
        wanted.append((kind, _height(rng, kind, size)))
    things: list[Thing] = []
    for kind, height in wanted:
        thing = _place(rng, kind, height, bands, size, things)
        if thing is not None:
            things.append(thing)
    return tuple(sorted(things, key=lambda thing: thing.base))


def _height(rng: np.random.Generator, kind: str, size: tuple[int, int]) -> float:
    low, high = map(math.log, SHAPES[kind].heights)
    return size[1] * math.exp(rng.uniform(low, high))


def _place(
    rng: np.random.Generator,
    kind: str,
    height: float,
    bands: tuple[Band, ...],
    size: tuple[int, int],
    others: list[Thing],
) -> Thing | None:
    """Return the thing where it overlaps the others least, shrunk if necessary; None for a distractor in the way."""
    shape = SHAPES[kind]
    width = rng.uniform(*shape.widths)
    height = min(height, 0.86 * size[0] / width)
    spots = [band for band in bands if band.kind == shape.ground]
    spots = spots or [band for band in bands if band.kind != "water"]
    if not spots:
        return None
    band = spots[rng.integers(len(spots))]
    depth = {"rails": 0.58, "road": rng.uniform(0.35, 0.8), "water": rng.uniform(0.35, 0.8)}
    base = band.top + depth.get(band.kind, rng.uniform(0.25, 0.9)) * (band.bottom - band.top)
    height = min(height, base)
    overlap, x = 0.0, 0.0
    for _ in range(3):
        length = width * height
        tries = rng.uniform(0.0, max(1.0, size[0] - length), 12) + rng.normal(0, 0.06 * length, 12)
        overlap, x = min((_overlap(float(x), length, others), float(x)) for x in tries)
        if overlap < 0.3 or height < 0.2 * size[1]:
            break
        height *= 0.7
    if overlap > 0.25 and kind in DISTRACTORS:
        return None
    return Thing(kind, x, float(base), height, float(width), bool(rng.random() < 0.5))


def _overlap(x: float, length: float, others: list[Thing]) -> float:
    """Return the sum of the shares by which [x, x + length] and each other thing cover the shorter of the two."""
    total = 0.0
    for other in others:
        span = other.width * other.height
        shared = max(0.0, min(x + length, other.x + span) - max(x, other.x))
        total += shared / min(length, span)
    return total
