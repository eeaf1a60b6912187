"""Masks of COCO's images: how objects that cannot be painted and photos that were turned are handled."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from wsseg_cli.errors import DataError
from wsseg_cli.foreign.coco_masks import Crowd, Overlap, class_mask, object_mask
from wsseg_cli.types import IGNORE, ByteArray

from .coco_instances import Painted, Picture
from .turns import Photo, Size

_FAR = 1e9
_OVER = 0.5  # pixels that a polygon may reach beyond its photo, since tools round


def mask_of(
    objects: Sequence[Painted], size: tuple[int, int], overlap: Overlap, crowd: Crowd
) -> tuple[ByteArray | None, dict[str, str]]:
    """Return the (H, W) uint8 class mask of an image, and why single objects could not be painted, by name.

    The box of an object without a usable segmentation becomes 255 where nothing else is: it is somewhere in there. The
    mask is None if such an object has no box either, or if no object could be painted.

    Raises:
        DataError: the size is not one that an image can have.
    """
    chosen = [painted for painted in objects if not (painted.crowd and crowd == "skip")]
    problems: dict[str, str] = {}
    known = [painted for painted in chosen if painted.segmentation is not None]
    try:
        mask = _painted(known, size, overlap, crowd)
    except DataError:
        problems = _problems(known, size)
        if not problems:
            raise
        known = [painted for painted in known if painted.name not in problems]
        mask = _painted(known, size, overlap, crowd)
    unknown = [painted for painted in chosen if painted.segmentation is None or painted.name in problems]
    if unknown and not known:
        return None, problems
    for painted in unknown:
        box = _box(painted.box, size)
        if box is None:
            return None, problems
        part = mask[box]
        part[part == 0] = IGNORE
    return mask, problems


def _painted(objects: Sequence[Painted], size: tuple[int, int], overlap: Overlap, crowd: Crowd) -> ByteArray:
    return class_mask([(o.value, o.segmentation, o.crowd) for o in objects], size, overlap, crowd)


def _problems(objects: Sequence[Painted], size: tuple[int, int]) -> dict[str, str]:
    """Return why single objects cannot be painted.

    Raises:
        DataError: the size is not one that an image can have.
    """
    class_mask([], size)
    found = {}
    for painted in objects:
        try:
            object_mask(painted.segmentation, size)
        except DataError as error:
            found[painted.name] = str(error)
    return found


def _box(box: Any, size: tuple[int, int]) -> tuple[slice, slice] | None:
    try:
        left, top, width, height = np.asarray(box, np.float64).tolist()
    except (TypeError, ValueError, OverflowError):
        return None
    if not np.isfinite([left, top, width, height]).all() or width <= 0 or height <= 0:
        return None
    rows = slice(int(np.clip(top, 0, size[0])), int(np.clip(np.ceil(top + height), 0, size[0])))
    return rows, slice(int(np.clip(left, 0, size[1])), int(np.clip(np.ceil(left + width), 0, size[1])))


def photo_of(picture: Picture, header: Photo) -> Photo:
    """Return a photo with the size (W, H) of the pixels on which its objects were drawn, as far as the file tells.

    A file that gives the size of the turned photo settles it. One that gives the stored size does not: Label Studio
    writes that next to polygons of the turned photo. In that case, polygons that reach beyond one of the two sizes
    settle it.
    """
    if header.shown == header.stored:
        return header
    given = picture.size[::-1]
    if given == header.shown:
        return Photo(header.orientation, header.stored, given)
    reach = [_reach(painted.segmentation) for painted in picture.objects]
    far = (max((x for x, _ in reach), default=0.0), max((y for _, y in reach), default=0.0))
    inside = [size for size in (header.stored, header.shown) if far[0] <= size[0] + _OVER and far[1] <= size[1] + _OVER]
    return Photo(header.orientation, header.stored, inside[0] if len(inside) == 1 else None)


def _reach(segmentation: Any) -> tuple[float, float]:
    """Return how far right and down an object reaches; (0, 0) if that is not known."""
    if isinstance(segmentation, dict):
        sides = segmentation.get("size")
        if isinstance(sides, list) and len(sides) == 2 and all(isinstance(side, int) for side in sides):
            return min(sides[1], _FAR), min(sides[0], _FAR)
        return 0.0, 0.0
    if not segmentation:
        return 0.0, 0.0
    try:
        corners = np.concatenate([np.asarray(polygon, np.float64).reshape(-1, 2) for polygon in segmentation])
    except (TypeError, ValueError, OverflowError):
        return 0.0, 0.0
    return (float(corners[:, 0].max()), float(corners[:, 1].max())) if corners.size else (0.0, 0.0)


def size_when(picture: Picture, header: Photo, orientation: int) -> tuple[int, int]:
    """Return the (H, W) of a picture's mask when its photo is turned by `orientation`."""
    turned = orientation != 1 and picture.size[::-1] == header.stored
    shown: Size = header.shown if turned else picture.size[::-1]
    return shown[1], shown[0]
