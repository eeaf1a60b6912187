"""Overlays: score maps and masks drawn over their photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..data.files import file_stem, write_atomically
from ..data.images import read_image
from ..data.palette import palette
from ..data.stores import MaskStore, ScoreStore
from ..engine import processes
from ..types import ByteArray, ClassNames, Sample, ScoreMap


def mask_overlay(image: ByteArray, mask: ByteArray, opacity: float = 0.6) -> ByteArray:
    """Return (H, W, 3) uint8: the photo, paler, with the classes of a (H, W) mask in VOC's colours; 255 in white."""
    colours = palette().astype(np.float32)
    colours[255] = 255
    shown = (mask > 0)[..., None]
    painted = (1 - opacity) * image + opacity * colours[mask]
    return np.where(shown, painted, 0.55 * image + 0.45 * image.mean(axis=2, keepdims=True)).astype(np.uint8)


def score_overlay(image: ByteArray, scores: ScoreMap) -> ByteArray:
    """Return (H, W, 3) uint8: the photo in grey with each class's scores in its VOC colour, strongest class first."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) * 0.8
    if not len(scores.classes):
        return grey.astype(np.uint8)
    maps = scores.full(0.0)[1:]
    best = maps.argmax(axis=0)
    strength = maps.max(axis=0)[..., None]
    colours = palette().astype(np.float32)[np.asarray(scores.classes) + 1]
    return ((1 - 0.8 * strength) * grey + 0.8 * strength * colours[best]).clip(0, 255).astype(np.uint8)


def write_overlays(
    folder: Path, store: ScoreStore | MaskStore, samples: Sequence[Sample], classes: ClassNames, count: int
) -> list[str]:
    """Write the first `count` images with their results as folder/overlays/ID.png; return the line to print."""
    if not count or not processes.is_main():
        return []
    places = folder / "overlays"
    for sample in samples[:count]:
        image = read_image(sample.image, sample.orientation)
        if isinstance(store, ScoreStore):
            picture = score_overlay(image, store[sample.image_id])
        else:
            picture = mask_overlay(image, store.read(sample.image_id, classes))
        write_picture(places / f"{file_stem(sample.image_id)}.png", picture)
    return [f"           {min(count, len(samples))} overlays in {places}"]


def write_picture(path: Path, picture: ByteArray) -> None:
    """Write (H, W, 3) uint8 as PNG, whole or not at all."""
    write_atomically(path, lambda to: Image.fromarray(picture).save(to, format="PNG"))
