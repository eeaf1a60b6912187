"""Saliency maps that differ in size from their image: refused before training, unless the recipe allows them."""

from __future__ import annotations

from collections.abc import Sequence

from wsseg_cli.data.images import open_picture
from wsseg_cli.errors import DataError
from wsseg_cli.types import Sample

SHOWN = 10
"""Images that the error names."""


def require_image_sizes(samples: Sequence[Sample]) -> None:
    """Check that every saliency map has the size of its image; only headers are read, not pixels.

    Raises:
        DataError: some differ; they are named with both sizes.
    """
    wrong = []
    for sample in samples:
        with open_picture(sample.image) as image, open_picture(sample.extras["saliency"]) as saliency:
            width, height = image.size[::-1] if sample.orientation >= 5 else image.size
            if saliency.size != (width, height):
                wrong.append(f"{sample.image_id!r}: {saliency.width}x{saliency.height}, image {width}x{height}")
    if wrong:
        more = [f"… and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        listed = "\n  ".join([*wrong[:SHOWN], *more])
        raise DataError(
            f"{len(wrong)} of {len(samples)} saliency maps differ in size from their image\n  {listed}\n"
            "  resize them, or set train_cls.method.options.resize_saliency: true"
        )
