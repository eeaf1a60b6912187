"""A summary of what `prepare` saw in each image's files: mask values against labels, converted photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from ..errors import DataError
from ..types import IGNORE, ClassNames, Json, Sample


class Looked(NamedTuple):
    """What the files of one image showed.

    Attributes:
        size: (H, W) of the photo in pixels.
        in_mask: the labels that its mask shows; None without a mask.
        ignored: whether the mask has pixels of 255.
        converted: what was converted to make it 8-bit RGB, "" if nothing.
    """

    size: tuple[int, int]
    in_mask: tuple[int, ...] | None
    ignored: bool
    converted: str


def seen_in_masks(samples: Mapping[str, Sample], looked: Mapping[str, Looked], classes: ClassNames) -> Json:
    """Return how many images have masks that disagree with their labels, and which labelled classes no mask shows.

    Raises:
        DataError: the masks hold 0 and 255 alone, so that everything but background is left out of all numbers.
    """
    with_mask = {image_id: look for image_id, look in looked.items() if look.in_mask is not None}
    shown = Counter(label for look in with_mask.values() for label in look.in_mask or ())
    labelled = Counter(label for image_id in with_mask for label in samples[image_id].labels)
    ignored = [image_id for image_id, look in with_mask.items() if look.ignored]
    if ignored and not shown:
        raise DataError(
            f"{len(ignored)} masks hold 255 and none of {len(with_mask)} shows a class, such as "
            f"{samples[ignored[0]].mask}: {IGNORE} is for pixels that are neither learnt from nor evaluated. Where it "
            "stands for the class, write it as 1: `wsseg convert masks MASKS NEW --form rgb --colours colours.json`, "
            "with [[0, 0, 0], [255, 255, 255]] in colours.json"
        )
    disagree = sum(set(look.in_mask or ()) != set(samples[i].labels) for i, look in with_mask.items())
    never = {classes[label]: count for label, count in sorted(labelled.items()) if label not in shown}
    return {"labels that disagree with masks": disagree, "in no mask": never}


def conversions(looked: Iterable[Looked]) -> Json:
    """Return how many photos were converted to 8-bit RGB, and from what."""
    counts = Counter(look.converted for look in looked if look.converted)
    said = ", ".join(f"{count} {mode}" for mode, count in sorted(counts.items()))
    return {"photos converted to 8-bit RGB": said}
