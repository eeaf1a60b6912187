"""EXIF orientation of photos that may have masks, maps or polygons: on which pixels were these drawn?

Only a photo on its side (orientation 5 to 8) that is not square can tell: its mask, map or polygons have the size of
the photo as stored, or as shown. Upside-down and mirrored photos (2 to 4) have the same size either way.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from wsseg_cli.data.images import exif_orientation, open_picture
from wsseg_cli.errors import DataError

Choice = Literal["apply", "ignore"]
Rule = Literal["auto", "apply", "ignore"]
Size = tuple[int, int]

_SIDEWAYS = (5, 6, 7, 8)


def orientation_option() -> Any:
    """Return the field of the option `orientation`."""
    return Field(
        "auto",
        description="EXIF orientation of the photos; auto: as the sizes of masks and maps say, apply: turn the photos, "
        "ignore: pixels as stored",
    )


@dataclass(frozen=True)
class Photo:
    """What is known about one photo: its EXIF orientation, its stored size (W, H), the size of its mask or map."""

    orientation: int
    stored: Size
    lying: Size | None = None

    @property
    def shown(self) -> Size:
        """The size (W, H) of the photo after turning."""
        return self.stored[::-1] if self.orientation in _SIDEWAYS else self.stored

    @property
    def says(self) -> Choice | None:
        """What to do according to the size of the photo's mask or map; None if it does not tell."""
        if self.shown == self.stored:
            return None
        return "apply" if self.lying == self.shown else "ignore" if self.lying == self.stored else None


@dataclass(frozen=True)
class Turns:
    """The orientation (1..8) to apply to each photo, and in words what was done and why, "" if nothing was."""

    applied: list[int]
    said: str


def decide(photos: Sequence[Photo], rule: Rule, otherwise: Choice = "apply") -> Turns:
    """Return the orientations to apply.

    rule: "auto" follows the photos that tell: all photos alike if these agree, else each by itself. otherwise: the
    choice for a photo that does not tell.
    """
    turned = [photo for photo in photos if photo.orientation != 1]
    if not turned:
        return Turns([1] * len(photos), "")
    said = {photo.says for photo in turned if photo.says}
    choices: list[Choice]
    if rule != "auto":
        choices, why = [rule] * len(photos), f"orientation: {rule}"
    elif len(said) == 1:
        choices, why = list(said) * len(photos), "as the sizes of their masks or maps say"
    elif said:
        choices, why = [photo.says or otherwise for photo in photos], "each as the size of its mask or map says"
    else:
        choices = [otherwise] * len(photos)
        why = "nothing tells on which pixels masks were drawn; the option `orientation` decides: apply or ignore"
    applied = [photo.orientation if choice == "apply" else 1 for photo, choice in zip(photos, choices, strict=True)]
    count = sum(orientation != 1 for orientation in applied)
    return Turns(applied, f"{len(turned)} photos have one: {count} turned, {len(turned) - count} as stored ({why})")


def orientations(files: Iterable[tuple[Path, Path | None]], rule: Rule, otherwise: Choice = "apply") -> Turns:
    """Return the orientations to apply to photos in files.

    files: (photo, its mask or another map of it, or None). What cannot be opened gets 1: reading the pixels will report
    why.
    """
    photos = []
    for path, mask in files:
        photo = header(path)
        if photo.orientation != 1 and mask is not None:
            photo = Photo(photo.orientation, photo.stored, header(mask).stored)
        photos.append(photo)
    return decide(photos, rule, otherwise)


def header(path: Path) -> Photo:
    """Return orientation and stored size of a picture; 1 and (0, 0) if it cannot be opened."""
    try:
        with open_picture(path) as picture:
            return Photo(exif_orientation(picture), picture.size)
    except DataError:
        return Photo(1, (0, 0))
