"""Overlays of score maps and masks as files next to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from ..data.files import file_stem, write_atomically
from ..data.images import read_image
from ..data.overlays import mask_overlay, score_overlay
from ..data.stores import MaskStore, ScoreStore
from ..engine import processes
from ..types import ByteArray, ClassNames, Sample


def write_overlays(
    folder: Path, store: ScoreStore | MaskStore, samples: Sequence[Sample], classes: ClassNames, count: int
) -> list[str]:
    """Write overlays of the first `count` results as folder/overlays/ID.png; return the line to print."""
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
