"""Score maps and masks drawn over their photos, as arrays."""

from __future__ import annotations

import numpy as np

from ..ops.resize import strips
from ..types import IGNORE, ByteArray, ScoreMap
from .overlay_colours import overlay_palette


def mask_overlay(image: ByteArray, mask: ByteArray, opacity: float = 0.6) -> ByteArray:
    """Return (H, W, 3) uint8: the paled photo with a (H, W) mask over it in `overlay_colours`, 255 in white."""
    colours = overlay_palette(int(mask.max(initial=0, where=mask != IGNORE))).astype(np.float32)
    drawn = np.empty_like(image)
    for rows in strips((image.shape[0], image.shape[1])):
        part, values = image[rows], mask[rows]
        painted = (1 - opacity) * part + opacity * colours[values]
        pale = 0.55 * part + 0.45 * part.mean(axis=2, keepdims=True)
        drawn[rows] = np.where((values > 0)[..., None], painted, pale).astype(np.uint8)
    return drawn


def score_overlay(image: ByteArray, scores: ScoreMap) -> ByteArray:
    """Return (H, W, 3) uint8: the photo in grey with the scores of each class in its colour, strongest class first."""
    values = np.asarray(scores.classes) + 1
    colours = overlay_palette(int(values.max(initial=0))).astype(np.float32)[values]
    drawn = np.empty_like(image)
    for rows in strips((image.shape[0], image.shape[1])):
        part = np.repeat(image[rows].mean(axis=2, keepdims=True), 3, axis=2) * 0.8
        if len(values):
            maps = scores.full(0.0, rows=rows)[1:]
            strength = maps.max(axis=0)[..., None]
            part = (1 - 0.8 * strength) * part + 0.8 * strength * colours[maps.argmax(axis=0)]
        drawn[rows] = part.clip(0, 255).astype(np.uint8)
    return drawn
