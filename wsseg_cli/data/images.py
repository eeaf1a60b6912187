"""Reading pictures: photos, masks and saliency maps as arrays, with a reason for each that cannot be used."""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from ..errors import DataError
from ..types import ByteArray

MAX_PIXELS = 40_000_000
"""Larger photos are refused: they need gigabytes in a network, and small files can claim such sizes."""

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_EXIF_ORIENTATION = 0x0112
_FILTERS = Lock()  # the filters of warnings are one for all threads


def open_picture(path: Path) -> Image.Image:
    """Return the picture at `path`, header read, pixels not yet decoded.

    Raises:
        DataError: missing, empty, not a picture, animated, or larger than `MAX_PIXELS`.
    """
    try:
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path)
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Image.DecompressionBombError:
        raise DataError(f"{path}: more than {MAX_PIXELS / 1e6:.0f} megapixels; scale it down") from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError) as error:
        empty = path.is_file() and path.stat().st_size == 0
        reason = "empty file" if empty else f"not a readable picture ({type(error).__name__})"
        raise DataError(f"{path}: {reason}") from None
    size = picture.width * picture.height
    frames = getattr(picture, "n_frames", 1)
    if size > MAX_PIXELS:
        picture.close()
        raise DataError(f"{path}: {size / 1e6:.0f} megapixels; at most {MAX_PIXELS / 1e6:.0f} are read, scale it down")
    if frames > 1 and picture.format != "MPO":
        picture.close()
        raise DataError(f"{path}: animated picture with {frames} frames; give single pictures")
    return picture


def exif_orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation 1..8 of a picture, 1 where there is none or nonsense."""
    try:
        value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except (OSError, ValueError, SyntaxError, TypeError):
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def decode(picture: Image.Image, path: Path) -> Image.Image:
    """Return `picture` with its pixels decoded.

    Raises:
        DataError: truncated or broken data.
    """
    try:
        picture.load()
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, ArithmeticError, MemoryError, TypeError) as error:
        raise DataError(f"{path}: broken or truncated ({error})") from None
    return picture


def read_image(path: Path, orientation: int = 1) -> ByteArray:
    """Return the photo at `path` as (H, W, 3) uint8 RGB, turned by EXIF `orientation`.

    Raises:
        DataError: unreadable, truncated, CMYK, 16-bit, animated or huge.
    """
    with open_picture(path) as picture:
        _check_mode(picture, path)
        pixels = decode(picture, path)
        if orientation != 1:
            pixels = pixels.transpose(_TURNS[orientation])
        return np.array(pixels.convert("RGB"))


def photo_size(path: Path, orientation: int = 1) -> tuple[int, int]:
    """Return the (H, W) that `read_image` gives, after reading all of the file; no array is made.

    Raises:
        DataError: as `read_image`.
    """
    with open_picture(path) as picture:
        _check_mode(picture, path)
        width, height = picture.size
        if picture.format == "JPEG":
            # an eighth of the size still takes every coded byte: what is cut or broken fails just as it does in full
            picture.draft(None, (1, 1))  # type: ignore[arg-type]
        decode(picture, path)
    return (width, height) if orientation in _SIDEWAYS else (height, width)


def _check_mode(picture: Image.Image, path: Path) -> None:
    if picture.mode in ("CMYK", "YCbCr", "LAB", "HSV") or picture.mode.startswith(("I", "F")):
        raise DataError(f"{path}: mode {picture.mode}; expected 8-bit RGB or grey, convert it first")


def read_mask(path: Path) -> ByteArray:
    """Return the mask at `path` as (H, W) uint8 class values, palette PNGs by index.

    Raises:
        DataError: unreadable, or an RGB picture instead of indices.
    """
    return np.array(_mask(path))


def mask_values(path: Path) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Return the (H, W) of the mask at `path` and the values that stand in it, ascending.

    Asked again about a file that has not changed, it answers without reading it: where labels come from masks,
    `prepare` asks for the labels, and again to check the file.

    Raises:
        DataError: as `read_mask`.
    """
    try:
        state = path.stat()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from None
    return _mask_values(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1 << 14)
def _mask_values(path: Path, _changed: int, _bytes: int) -> tuple[tuple[int, int], tuple[int, ...]]:
    mask = _mask(path)
    counts = mask.histogram()
    return (mask.height, mask.width), tuple(value for value, count in enumerate(counts) if count)


def _mask(path: Path) -> Image.Image:
    with open_picture(path) as picture:
        if picture.mode == "1":
            return decode(picture, path).convert("L").point(lambda v: 1 if v else 0)
        if picture.mode not in ("P", "L"):
            raise DataError(
                f"{path}: a mask of mode {picture.mode}; expected class values as palette or 8-bit grey PNG "
                "(`wsseg convert masks` brings colour-coded masks into that form)"
            )
        return decode(picture, path)


def read_saliency(path: Path) -> ByteArray:
    """Return the saliency map at `path` as (H, W) uint8, 0..255.

    Raises:
        DataError: unreadable, or more than 8 bits a pixel.
    """
    with open_picture(path) as picture:
        if picture.mode not in ("L", "P", "1", "RGB"):
            raise DataError(f"{path}: a saliency map of mode {picture.mode}; expected 8-bit grey PNG, 0 to 255")
        return np.array(decode(picture, path).convert("L"))


def upright(picture: Image.Image) -> Image.Image:
    """Return `picture` turned as its EXIF orientation says."""
    return ImageOps.exif_transpose(picture)
