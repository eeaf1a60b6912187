"""Stores of per-image results: score maps as safetensors, masks as palette PNG, one file per image."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import DataError, StageError
from ..types import IGNORE, ByteArray, ClassNames, ScoreMap, resize_scores
from .files import file_stem, stems_in, write_atomically
from .images import check_pixels, mask_values, read_mask
from .tensor_files import NUMBERS, Refusal, TensorSpec, read_header, read_tensors, write_tensors


class ScoreStore(Mapping[str, ScoreMap]):
    """The score maps in one folder by image id, float16 at one `store_stride`; read on demand."""

    suffix = ".safetensors"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, image_id: str) -> Path:
        """Return the file of an image, whether it exists or not."""
        return self.folder / (file_stem(image_id) + self.suffix)

    def missing(self, image_ids: Iterable[str]) -> list[str]:
        """Return those of `image_ids` without a file, in their order."""
        there = stems_in(self.folder, self.suffix)
        return [image_id for image_id in image_ids if file_stem(image_id) not in there]

    def write(self, scores: ScoreMap, stride: int = 1, seen: tuple[int, int] | None = None) -> None:
        """Write a score map, clipped to [0, 1] and resized to ((H-1)//stride+1, (W-1)//stride+1), as float16.

        seen: (H, W) at which the network saw the image, by default the image's own. A second resolution, `strided`, is
        also written, unchanged.
        """
        height, width = scores.size
        rows, columns = seen or scores.size
        size = ((rows - 1) // stride + 1, (columns - 1) // stride + 1)
        arrays = {
            "classes": np.asarray(scores.classes, np.int64),
            "scores": np.ascontiguousarray(_stored(scores.scores, size)),
        }
        if scores.background is not None:
            arrays["background"] = np.ascontiguousarray(_stored(scores.background[None], size)[0])
        if scores.strided is not None:
            arrays["strided"] = np.ascontiguousarray(_stored(scores.strided, scores.strided.shape[1:]))
        header = {"image_id": scores.image_id, "size": [height, width]}
        write_tensors(self.path(scores.image_id), arrays, header, durable=False)

    def without_strided(self, image_ids: Iterable[str]) -> list[str]:
        """Return those of `image_ids` whose file lacks a second resolution, in their order."""
        lacking = []
        for image_id in image_ids:
            try:
                specs, _ = read_header(self.path(image_id), _REFUSAL)
            except (DataError, FileNotFoundError):
                continue  # reported when the map is read
            if "strided" not in specs:
                lacking.append(image_id)
        return lacking

    def __getitem__(self, image_id: str) -> ScoreMap:
        """Return the score map of an image.

        Raises:
            DataError: its file is missing or broken.
        """
        return read_scores(self.path(image_id), image_id)

    def __iter__(self) -> Iterator[str]:
        for stem in sorted(stems_in(self.folder, self.suffix)):
            yield read_scores(self.folder / (stem + self.suffix)).image_id

    def __len__(self) -> int:
        return len(stems_in(self.folder, self.suffix))


def _stored(scores: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    return np.clip(resize_scores(scores, size), 0.0, 1.0).astype(np.float16)


_REMEDY = "delete it and run the command that made it again"
_REFUSAL = Refusal(_REMEDY, what="score map")
_FRACTIONS = {"F16", "F32", "F64"}
_COARSEST = 64  # pixels of the image per stored value; a coarser map means that the size is damaged
_MOST_VALUES = 1 << 30


def read_scores(path: Path, image_id: str | None = None) -> ScoreMap:
    """Return the score map in file `path`.

    Raises:
        DataError: the file is missing, is not a score map, or has values that are not finite.
    """
    try:
        size = _checked_size(path)
        arrays, header = read_tensors(path, "np", _REFUSAL, NUMBERS)
    except FileNotFoundError:
        raise DataError(f"no score map for image {image_id!r}: {path} is missing") from None
    classes, scores = arrays["classes"].astype(np.int64), arrays["scores"].astype(np.float32)
    more = {name: arrays[name].astype(np.float32) for name in ("background", "strided") if name in arrays}
    if len(classes) and (classes[0] < 0 or classes[-1] >= IGNORE - 1 or (np.diff(classes) <= 0).any()):
        raise DataError(f"{path}: classes {classes.tolist()[:20]}; expected ascending class numbers from 0; {_REMEDY}")
    if not all(np.isfinite(values).all() for values in (scores, *more.values())):
        raise DataError(f"{path}: scores that are not finite; {_REMEDY}")
    said = header.get("image_id")
    image_id = said if isinstance(said, str) else image_id or path.stem
    return ScoreMap(image_id, classes, scores, size, more.get("background"), more.get("strided"))


def _checked_size(path: Path) -> tuple[int, int]:
    """Return the (H, W) in a score map's header checked against the shapes in the file.

    Raises:
        DataError: they do not match. FileNotFoundError: the file is missing.
    """
    specs, values = read_header(path, _REFUSAL)
    size = values.get("size")
    if {"classes", "scores"} - set(specs) or not isinstance(size, list) or len(size) != 2:
        raise DataError(f"{path}: not a score map: no `classes`, `scores` or `size`; {_REMEDY}")
    shape, count = specs["scores"].shape, specs["classes"].shape
    if len(count) != 1:
        raise DataError(f"{path}: classes of shape {count}; {_REMEDY}")
    for name in ("scores", "strided"):
        if name in specs:
            _check_map(path, name, specs[name], count[0], size)
    if "background" in specs and specs["background"].shape != shape[1:]:
        raise DataError(f"{path}: background of shape {specs['background'].shape}, scores of shape {shape}; {_REMEDY}")
    if (1 + count[0]) * size[0] * size[1] > _MOST_VALUES:
        raise DataError(f"{path}: {count[0]} classes at the size {size} are more than memory holds; {_REMEDY}")
    check_pixels(path, size[0] * size[1])
    return size[0], size[1]


def _check_map(path: Path, name: str, spec: TensorSpec, count: int, size: list[Any]) -> None:
    shape = spec.shape
    if len(shape) != 3 or shape[0] != count or spec.dtype not in _FRACTIONS:
        raise DataError(f"{path}: {count} classes but {name} of shape {shape} ({spec.dtype}); {_REMEDY}")
    if not all(type(n) is int and 1 <= m <= n <= _COARSEST * m for n, m in zip(size, shape[1:], strict=True)):
        raise DataError(f"{path}: size {str(size)[:60]} does not match {name} of shape {shape}; {_REMEDY}")


CONFIDENCE = "confidence"
"""The folder next to masks for their confidence, ID.png."""


class MaskStore:
    """The masks in one folder by image id, palette PNGs with the mask values of `ClassNames`."""

    suffix = ".png"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, image_id: str) -> Path:
        """Return the file of an image, whether it exists or not."""
        return self.folder / (file_stem(image_id) + self.suffix)

    def missing(self, image_ids: Iterable[str]) -> list[str]:
        """Return those of `image_ids` without a file, in their order."""
        there = stems_in(self.folder, self.suffix)
        return [image_id for image_id in image_ids if file_stem(image_id) not in there]

    def write(self, image_id: str, mask: ByteArray) -> None:
        """Write a (H, W) mask of class values as a palette PNG in VOC's colours."""
        write_mask(self.path(image_id), mask)

    def read(self, image_id: str, classes: ClassNames, size: tuple[int, int] | None = None) -> ByteArray:
        """Return the (H, W) mask of an image, its values checked against the classes and, if given, its size.

        Raises:
            StageError: there is no mask for the image. DataError: it is unreadable, of another size, or has a value
                above the classes.
        """
        path = self.path(image_id)
        if not path.is_file():
            raise StageError(f"no mask for image {image_id!r} in {self.folder}; run the stage that writes it first")
        return checked_mask(path, classes, size)


def checked_mask(path: Path, classes: ClassNames, size: tuple[int, int] | None = None) -> ByteArray:
    """Return the (H, W) mask at `path`, its values and size checked.

    Raises:
        DataError: it is unreadable, not of (H, W) `size`, or has a value above the classes that is not 255.
    """
    mask = read_mask(path)
    if size is not None:
        check_size(path, "mask", mask.shape, size)
    above = mask[(mask > len(classes)) & (mask != IGNORE)]
    if above.size:
        raise _above(path, int(above.max()), classes)
    return mask


def labels_in_mask(path: Path, classes: ClassNames, size: tuple[int, int] | None = None) -> tuple[int, ...]:
    """Return the labels of the classes that the mask at `path` shows, ascending; checked as `checked_mask` does.

    Raises:
        DataError: as `checked_mask`.
    """
    mask_size, values = mask_values(path)
    if size is not None:
        check_size(path, "mask", mask_size, size)
    shown = [value for value in values if value not in (0, IGNORE)]
    if shown and shown[-1] > len(classes):
        raise _above(path, shown[-1], classes)
    return tuple(value - 1 for value in shown)


def check_size(path: Path, what: str, found: tuple[int, ...], wanted: tuple[int, int]) -> None:
    """Refuse a mask or map whose size (H, W) differs from its image; `what` names it in the message.

    Raises:
        DataError: the two sizes differ.
    """
    if found != tuple(wanted):
        got, want = "x".join(map(str, found[::-1])), "x".join(map(str, tuple(wanted)[::-1]))
        raise DataError(f"{path}: the {what} is {got} pixels, its image {want}")


def _above(path: Path, value: int, classes: ClassNames) -> DataError:
    return DataError(
        f"{path}: mask value {value} is out of range for {len(classes)} classes (0 is background, {IGNORE} ignore)"
    )


def write_mask(path: Path, mask: ByteArray) -> None:
    """Write a (H, W) uint8 mask as a palette PNG in VOC's colours, whole or not at all."""
    from .palette import palette_bytes

    picture = Image.fromarray(np.asarray(mask, np.uint8), mode=None)
    picture.putpalette(palette_bytes())
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG", compress_level=1), durable=False)


def write_confidence(folder: Path, image_id: str, levels: ByteArray) -> None:
    """Write the confidence of a mask, (H, W) levels of 0 to 255, as a grey PNG, whole or not at all."""
    path, picture = MaskStore(folder).path(image_id), Image.fromarray(levels)
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG", compress_level=1), durable=False)
