"""`wsseg convert masks`: colour-coded, COCO-numbered and plain masks to palette PNGs of class values, and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from PIL import Image

from ..data.files import file_stem, write_atomically
from ..data.images import decode, open_picture, read_mask
from ..data.palette import voc_colours
from ..data.stores import MaskStore
from ..disk.reading import read_text
from ..disk.records import parse_json
from ..errors import DataError, RecipeError
from ..types import IGNORE, ByteArray

Form = Literal["palette", "index", "rgb", "coco"]
"""palette: ours. index: the same values in a grey PNG. rgb: one colour per value. coco: COCO's category ids."""

_COCO_UNUSED = frozenset({12, 26, 29, 30, 45, 66, 68, 69, 71, 83})
_COCO_LAST = 90
_SUFFIXES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg")
_IGNORE_WORD = 65535


@dataclass
class ConvertedMasks:
    """The outcome: files written, files by the values in them, and the files that failed, with the reason.

    classes: the classes by ascending mask value, if the source names them. notes: further remarks.
    """

    out: Path
    written: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[Path, str]] = field(default_factory=list)
    classes: tuple[str, ...] = ()
    notes: list[str] = field(default_factory=list)


def run(
    source: Path,
    out: Path,
    *,
    form: Form | None = None,
    to: Form = "palette",
    colours: Path | None = None,
    num_classes: int | None = None,
) -> ConvertedMasks:
    """Convert a folder of masks: 8 or 16 bits, grey, palette or colours; an alpha channel is ignored.

    form: how they are encoded; by default "rgb" for colour pictures, else their plain values ("palette" or "index").
    colours: JSON with the colour of each value, [[r, g, b], …], starting with the background; by default VOC's, whose
    255 is (224, 224, 192). If given, pixels of JPEGs take the nearest one. num_classes: refuse values beyond.

    Raises:
        DataError: there are no such files. Files that cannot be converted are in `failures`; all others are written.
    """
    for name in (form, to):
        if name is not None and name not in get_args(Form):
            raise RecipeError(f"unknown form {name!r}; expected one of {', '.join(get_args(Form))}")
    if not source.is_dir():
        raise DataError(f"{source}: no such folder")
    if out.resolve() == source.resolve():
        raise RecipeError(f"{out}: would overwrite the masks that are read; name another folder")
    table = voc_colours() if colours is None else read_colours(colours)
    result = ConvertedMasks(out)
    files = list(_files(source))
    if not files:
        raise DataError(f"{source}: holds no masks ({', '.join(_SUFFIXES)})")
    for path in files:
        image_id = path.relative_to(source).with_suffix("").as_posix()
        try:
            mask = values_of(path, form, table, nearest=colours is not None)
            beyond = mask[(mask != IGNORE) & (mask > (IGNORE if num_classes is None else num_classes))]
            if beyond.size:
                raise DataError(f"{path}: value {int(beyond.max())} is out of range for {num_classes} classes")
            _write(out, image_id, mask, to, table)
        except DataError as error:
            result.failures.append((path, str(error)))
            continue
        result.written += 1
        result.counts.update(np.unique(mask).tolist())
    return result


def values_of(path: Path, form: Form | None, colours: ByteArray, nearest: bool = False) -> ByteArray:
    """Return the mask at `path` as (H, W) uint8 class values.

    nearest: the pixels of a JPEG, which never match a colour exactly, take the value of the nearest one.

    Raises:
        DataError: the file is unreadable, or a colour or an id stands for no class.
    """
    with open_picture(path) as picture:
        if picture.format == "JPEG":
            if form != "rgb" or not nearest:
                raise DataError(f"{path}: JPEG blurs class values; --form rgb --colours FILE takes the nearest colour")
            return _nearest(np.asarray(decode(picture, path).convert("RGB")), colours)
        if form == "rgb" or (form is None and picture.mode in ("RGB", "RGBA")):
            pixels = np.asarray(decode(picture, path).convert("RGB"))
            return values_of_colours(pixels, colours, str(path), or_grey=form is None)
        if picture.mode.startswith("I"):
            mask = _of_words(np.asarray(decode(picture, path)), str(path))
        elif picture.mode in ("LA", "PA"):
            mask = np.array(decode(picture, path).getchannel(0))
        else:
            mask = read_mask(path)
    return values_of_categories(mask, str(path)) if form == "coco" else mask


def _of_words(values: npt.NDArray[Any], said_by: str) -> ByteArray:
    """Return class values from 16 bits, with 65535 as 255: both mean no class."""
    words = np.where(values == _IGNORE_WORD, IGNORE, values)
    if words.size and (words.min() < 0 or words.max() > IGNORE):
        raise DataError(
            f"{said_by}: value {int(words.max())}; expected 0 to {IGNORE - 1}, and {IGNORE} or 65535: ignore"
        )
    return words.astype(np.uint8)


def _nearest(pixels: ByteArray, colours: ByteArray) -> ByteArray:
    best = np.full(pixels.shape[:2], np.iinfo(np.int64).max)
    values = np.zeros(pixels.shape[:2], np.uint8)
    for value, colour in enumerate(colours.astype(np.int64)):
        distance = ((pixels - colour) ** 2).sum(axis=2)
        values[distance < best] = value
        best = np.minimum(best, distance)
    return values


def values_of_colours(
    pixels: npt.NDArray[Any], colours: ByteArray, said_by: str, *, or_grey: bool = False
) -> ByteArray:
    """Return the (H, W) uint8 values that the colours of (H, W, 3) uint8 pixels stand for.

    colours: (V, 3) uint8 RGB, the first of equal ones counts; if fewer than 256, VOC's colour of 255 is added.
    or_grey: if some pixels are not in the table and all are grey, they are the values themselves.

    Raises:
        DataError: a colour stands for no value.
    """
    codes = _codes(pixels.reshape(-1, 3))
    values = list(range(len(colours)))
    table = colours
    if len(colours) <= IGNORE:
        table, values = np.concatenate([colours, voc_colours()[IGNORE:]]), [*values, IGNORE]
    known, first = np.unique(_codes(table), return_index=True)
    found, inverse = np.unique(codes, return_inverse=True)
    place = np.minimum(np.searchsorted(known, found), len(known) - 1)
    unknown = np.flatnonzero(known[place] != found)
    if unknown.size and or_grey and (pixels == pixels[..., :1]).all():
        return pixels[..., 0].astype(np.uint8)
    if unknown.size:
        colour = tuple(pixels.reshape(-1, 3)[np.flatnonzero(inverse == unknown[0])[0]].tolist())
        raise DataError(f"{said_by}: {len(unknown)} colours stand for no class, first {colour}; --colours names them")
    return np.array(values, np.uint8)[first[place]][inverse].reshape(pixels.shape[:2])


def values_of_categories(mask: ByteArray, said_by: str) -> ByteArray:
    """Return a (H, W) mask of COCO's category ids as contiguous values; 0 and 255 are kept.

    Raises:
        DataError: an id is not used by COCO.
    """
    table = np.full(IGNORE + 1, -1, np.int16)
    table[0], table[IGNORE] = 0, IGNORE
    table[_category_ids()] = np.arange(1, len(_category_ids()) + 1)
    values = table[mask]
    if (values < 0).any():
        wrong = sorted(set(mask[values < 0].tolist()))
        raise DataError(
            f"{said_by}: {wrong[:8]} are not category ids of COCO's 80 classes; "
            "plain class indices are read with --form index"
        )
    return values.astype(np.uint8)


def read_colours(path: Path) -> ByteArray:
    """Return the colours in a JSON file, (V, 3) uint8: a list of [r, g, b], or an ordered dict of them by class name.

    Raises:
        DataError: the file is missing, or has another form.
    """
    try:
        content = parse_json(read_text(path, 1 << 20, "utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read as colours ({error})") from error
    rows = list(content.values()) if isinstance(content, dict) else content
    fits = isinstance(rows, list) and 1 < len(rows) <= IGNORE + 1
    if not fits or not all(isinstance(row, list) and len(row) == 3 and all(_is_byte(v) for v in row) for row in rows):
        raise DataError(f"{path}: expected 2 to 256 colours [r, g, b], the background first")
    return np.array(rows, np.uint8)


def _write(out: Path, image_id: str, mask: ByteArray, to: Form, colours: ByteArray) -> None:
    if to == "palette":
        MaskStore(out).write(image_id, mask)
        return
    if to == "coco":
        ids = np.concatenate([[0], _category_ids()])
        if (beyond := mask[(mask != IGNORE) & (mask >= len(ids))]).size:
            raise DataError(f"image {image_id!r}: value {int(beyond.max())} is not one of COCO's 80 classes")
        pixels: ByteArray = np.where(mask == IGNORE, IGNORE, ids[np.where(mask == IGNORE, 0, mask)]).astype(np.uint8)
    elif to == "rgb":
        table = voc_colours()
        table[: len(colours)] = colours
        if (beyond := mask[(mask != IGNORE) & (mask >= len(colours))]).size:
            raise DataError(f"image {image_id!r}: value {int(beyond.max())} has no colour")
        pixels = table[mask]
    else:
        pixels = mask
    picture = Image.fromarray(pixels)
    write_atomically(out / f"{file_stem(image_id)}.png", lambda path: picture.save(path, format="PNG"))


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in _SUFFIXES and path.is_file() and not path.name.startswith("."):
            yield path


def _codes(pixels: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    wide = pixels.astype(np.int64)
    return (wide[:, 0] << 16) | (wide[:, 1] << 8) | wide[:, 2]


def _category_ids() -> list[int]:
    return [number for number in range(1, _COCO_LAST + 1) if number not in _COCO_UNUSED]


def _is_byte(value: Any) -> bool:
    return type(value) is int and 0 <= value <= 255
