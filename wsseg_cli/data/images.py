"""Reading pictures: photos, masks and saliency maps as arrays; errors give the reason why one cannot be used."""

from __future__ import annotations

import warnings
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin, UnidentifiedImageError

from ..disk.limits import max_pixels
from ..disk.reading import require_regular
from ..errors import DataError
from ..types import ByteArray

PngImagePlugin.MAX_TEXT_CHUNK = 64 << 20  # editors write text and colour profiles larger than Pillow's limit of 1 MB
PngImagePlugin.MAX_TEXT_MEMORY = 64 << 20

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_STRIP = 1 << 22  # pixels
SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap height and width."""
_EXIF_ORIENTATION = 0x0112
for _name in ("Bmp", "Gif", "Jpeg", "Png", "Ppm", "Tiff", "WebP"):
    import_module(f"PIL.{_name}ImagePlugin")
_FORMATS = tuple(name for name in ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM") if name in Image.OPEN)
"""Formats that are read; others of Pillow, such as EPS, would start external programs or are irrelevant."""
Image.MAX_IMAGE_PIXELS = None  # `check_pixels` is the limit
_FILTERS = Lock()  # warning filters are shared by all threads


def check_pixels(path: Path, pixels: int) -> None:
    """Refuse a picture, mask or map that is too large, before memory is allocated for it.

    Raises:
        DataError: there are more than `max_pixels`.
    """
    most = max_pixels()
    if pixels > most:
        raise DataError(
            f"{path}: {min(pixels, 1 << 60) / 1e6:.0f} megapixels; at most {most / 1e6:g} are read: scale it down, "
            "or raise the limit with `wsseg --max-megapixels N …`"
        )


def open_picture(path: Path) -> Image.Image:
    """Return the picture at `path` with its header read, but its pixels not yet decoded.

    Raises:
        DataError: the file is missing, empty, not a picture, animated, or larger than `max_pixels`.
    """
    try:
        if require_regular(path) == 0:
            raise DataError(f"{path}: empty file")
        with _FILTERS, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about oddities in metadata
            picture = Image.open(path, formats=_FORMATS)
            frames = getattr(picture, "n_frames", 1)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path}: no such file") from None
    except Exception as error:  # the readers of a dozen formats fail in all kinds of ways on damaged files
        unknown = isinstance(error, UnidentifiedImageError) or not str(error)
        reason = _said(error) if isinstance(error, OSError) and error.errno else "not a readable picture"
        reason += "" if unknown or reason == _said(error) else f" ({_said(error)})"
        raise DataError(f"{path}: {reason}") from None
    try:
        check_pixels(path, picture.width * picture.height)
        if frames > 1 and picture.format != "MPO":
            raise DataError(f"{path}: animated picture with {frames} frames; give single pictures")
    except DataError:
        picture.close()
        raise
    return picture


def exif_orientation(picture: Image.Image) -> int:
    """Return the EXIF orientation 1..8 of a picture; 1 if it is missing or invalid."""
    try:
        value = picture.getexif().get(_EXIF_ORIENTATION, 1)
    except Exception:  # invalid in any way
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def decode(picture: Image.Image, path: Path) -> Image.Image:
    """Return `picture` with its pixels decoded.

    Raises:
        DataError: the data is truncated or broken.
    """
    try:
        picture.load()
    except Exception as error:  # as in `open_picture`
        raise DataError(f"{path}: broken or truncated ({_said(error)})") from None
    return picture


def _said(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return text.splitlines()[0][:160]


def read_image(path: Path, orientation: int = 1) -> ByteArray:
    """Return the photo at `path` as (H, W, 3) uint8 RGB, turned by EXIF `orientation`.

    CMYK and YCbCr become RGB; of 16 bits the upper 8 are kept.

    Raises:
        DataError: the photo is unreadable, truncated, of floats, animated or too large.
    """
    with open_picture(path) as picture:
        conversion(picture, path)
        pixels = decode(picture, path)
        if orientation != 1:
            pixels = pixels.transpose(_TURNS[orientation])
        if pixels.mode.startswith("I"):
            return np.repeat(_upper_byte(np.asarray(pixels), path)[..., None], 3, axis=2)
        return _rgb(pixels)


def _rgb(picture: Image.Image) -> ByteArray:
    """Return (H, W, 3) uint8, copied strip by strip: two more full copies of a large photo would take a gigabyte."""
    pixels = np.empty((picture.height, picture.width, 3), np.uint8)
    rows = max(1, _STRIP // picture.width)
    for top in range(0, picture.height, rows):
        strip = picture.crop((0, top, picture.width, min(top + rows, picture.height)))
        pixels[top : top + rows] = np.asarray(strip.convert("RGB"))
    return pixels


def look_at_photo(path: Path, orientation: int = 1) -> tuple[tuple[int, int], str]:
    """Return the (H, W) that `read_image` gives and its `conversion`, after reading the whole file.

    Raises:
        DataError: as `read_image`.
    """
    with open_picture(path) as picture:
        converted = conversion(picture, path)
        width, height = picture.size
        if picture.format == "JPEG":
            # decoding at an eighth of the size still reads every coded byte: damaged files fail just as at full size
            picture.draft(None, (1, 1))  # type: ignore[arg-type]
        pixels = decode(picture, path)
        if picture.mode.startswith("I"):
            _upper_byte(np.asarray(pixels), path)
    return ((width, height) if orientation in SIDEWAYS else (height, width)), converted


def conversion(picture: Image.Image, path: Path) -> str:
    """Return what has to be converted to get 8-bit RGB: "CMYK", "YCbCr", "16-bit", or "" for nothing.

    Raises:
        DataError: the values of the picture's mode cannot be interpreted as colours.
    """
    if picture.mode in ("CMYK", "YCbCr"):
        return picture.mode
    if picture.mode.startswith("I"):
        return "16-bit"
    if picture.mode in ("LAB", "HSV", "F"):
        raise DataError(f"{path}: mode {picture.mode}; expected RGB, CMYK or grey of 8 or 16 bits, convert it first")
    return ""


def _upper_byte(pixels: npt.NDArray[Any], path: Path) -> ByteArray:
    if pixels.size and (int(pixels.min()) < 0 or int(pixels.max()) > 65535):
        raise DataError(f"{path}: values {pixels.min()} to {pixels.max()}; expected 0 to 65535 of a 16-bit photo")
    return (pixels.astype(np.uint16) >> 8).astype(np.uint8)


def read_mask(path: Path) -> ByteArray:
    """Return the mask at `path` as (H, W) uint8 class values; palette PNGs give their indices.

    Raises:
        DataError: the file is unreadable, or an RGB picture instead of indices.
    """
    return np.array(_mask(path))


def mask_values(path: Path) -> tuple[tuple[int, int], tuple[int, ...]]:
    """Return the (H, W) of the mask at `path` and the values in it, ascending.

    The result is cached while the file does not change: if labels come from masks, `prepare` calls this once for the
    labels and again to check the file.

    Raises:
        DataError: as `read_mask`.
    """
    try:
        state = path.stat()
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: cannot be read ({_said(error)})") from None
    return _mask_values(path, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=1 << 14)
def _mask_values(path: Path, _changed: int, _bytes: int) -> tuple[tuple[int, int], tuple[int, ...]]:
    mask = _mask(path)
    counts = mask.histogram()
    return (mask.height, mask.width), tuple(value for value, count in enumerate(counts) if count)


def _mask(path: Path) -> Image.Image:
    with open_picture(path) as picture:
        if picture.format == "JPEG":
            raise DataError(
                f"{path}: JPEG blurs class values; give PNGs (`wsseg convert masks --form rgb --colours FILE` takes "
                "the nearest colour)"
            )
        if picture.mode == "1":
            return decode(picture, path).convert("L").point(lambda v: 1 if v else 0)
        if picture.mode not in ("P", "L"):
            raise DataError(
                f"{path}: a mask of mode {picture.mode}; expected class values as palette or 8-bit grey PNG "
                "(`wsseg convert masks` brings colours, 16 bits and grey with alpha into that form)"
            )
        return decode(picture, path)


def read_saliency(path: Path) -> ByteArray:
    """Return the saliency map at `path` as (H, W) uint8, 0..255.

    Raises:
        DataError: the file is unreadable, or has more than 8 bits per pixel.
    """
    with open_picture(path) as picture:
        if picture.mode not in ("L", "P", "1", "RGB"):
            raise DataError(f"{path}: a saliency map of mode {picture.mode}; expected 8-bit grey PNG, 0 to 255")
        return np.array(decode(picture, path).convert("L"))
