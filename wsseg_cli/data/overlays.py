"""Score maps and masks drawn over their photos, as arrays."""

from __future__ import annotations

import numpy as np

from ..types import IGNORE, ByteArray, ScoreMap
from .overlay_colours import overlay_palette


def mask_overlay(image: ByteArray, mask: ByteArray, opacity: float = 0.6) -> ByteArray:
    """Return (H, W, 3) uint8: the photo, paler, a (H, W) mask over it in `overlay_colours`, 255 in white."""
    colours = overlay_palette(int(mask.max(initial=0, where=mask != IGNORE))).astype(np.float32)
    shown = (mask > 0)[..., None]
    painted = (1 - opacity) * image + opacity * colours[mask]
    return np.where(shown, painted, 0.55 * image + 0.45 * image.mean(axis=2, keepdims=True)).astype(np.uint8)


def score_overlay(image: ByteArray, scores: ScoreMap) -> ByteArray:
    """Return (H, W, 3) uint8: the photo in grey with each class's scores in its colour, strongest class first."""
    grey = np.repeat(image.mean(axis=2, keepdims=True), 3, axis=2) * 0.8
    if not len(scores.classes):
        return grey.astype(np.uint8)
    maps = scores.full(0.0)[1:]
    best = maps.argmax(axis=0)
    strength = maps.max(axis=0)[..., None]
    values = np.asarray(scores.classes) + 1
    colours = overlay_palette(int(values.max())).astype(np.float32)[values]
    return ((1 - 0.8 * strength) * grey + 0.8 * strength * colours[best]).clip(0, 255).astype(np.uint8)
