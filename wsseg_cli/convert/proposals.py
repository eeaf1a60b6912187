"""`wsseg convert proposals`: SAM's masks, PNG stacks and label images to one checked run-length file per image."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ..data.images import SIDEWAYS, check_pixels, decode, exif_orientation, open_picture
from ..data.proposal_records import check_counts
from ..data.proposals import Proposals, ProposalStore, read_proposals
from ..errors import DataError, RecipeError
from ..foreign.npy import read as read_npy

Form = Literal["sam", "stack", "labels"]
"""Per image: sam: a JSON file of SAM or SA-1B; stack: a folder of PNGs; labels: a label image."""

_FULL = 255
_LABELS = (".png", ".tif", ".tiff", ".npy")
_PHOTOS = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif")


@dataclass
class ConvertedProposals:
    """The outcome: files written, proposals in them, and the images that failed, with the reason."""

    out: Path
    form: str
    written: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[Path, str]] = field(default_factory=list)


def run(
    source: Path,
    out: Path,
    *,
    form: Form | None = None,
    zero: Literal["region", "none"] = "region",
    images: Path | None = None,
) -> ConvertedProposals:
    """Convert a folder of proposals, one file or folder per image, to `ID.json` in the folder `out`.

    form: by default inferred from the folder: JSON files, folders of PNGs, label images. zero: whether the value 0 of a
    label image is a region. images: folder of the photos, to check the sizes against.

    Raises:
        DataError: there are no such files. Images that cannot be converted are in `failures`; all others are written.
    """
    if form is not None and form not in get_args(Form):
        raise RecipeError(f"unknown form {form!r}; expected one of {', '.join(get_args(Form))}")
    if zero not in ("region", "none"):
        raise RecipeError(f"zero is {zero!r}; expected region or none")
    for folder in (source, *([images] if images else [])):
        if not folder.is_dir():
            raise DataError(f"{folder}: no such folder")
    if out.resolve() == source.resolve():
        raise RecipeError(f"{out}: would overwrite the proposals that are read; name another folder")
    form = form or _told(source)
    found = dict(_entries(source, form))
    if not found:
        raise DataError(f"{source}: holds no proposals of the form {form}")
    photos = None if images is None else {_id(path, images): path for path in _files(images, _PHOTOS)}
    result, store = ConvertedProposals(out, form), ProposalStore(out)
    for image_id, path in sorted(found.items()):
        try:
            proposals = _read(path, form, zero == "region")
            if photos is not None:
                _check_photo(image_id, path, proposals, photos)
        except DataError as error:
            result.failures.append((path, str(error)))
            continue
        store.write(image_id, proposals)
        result.written += 1
        result.counts[len(proposals)] += 1
    for image_id in sorted(set(photos or ()) - set(found)):
        result.failures.append(((photos or {})[image_id], f"{(photos or {})[image_id]}: no proposals of this photo"))
    return result


def _told(source: Path) -> Form:
    """Return the form of a folder, inferred from the kinds of files in it."""
    if next(_files(source, (".json",)), None) is not None:
        return "sam"
    deep = any(path.parent != source for path in _files(source, (".png",)))
    return "stack" if deep else "labels"


def _entries(source: Path, form: Form) -> Iterator[tuple[str, Path]]:
    """Yield (image id, file or folder) of each image."""
    if form == "stack":
        for folder in dict.fromkeys(path.parent for path in _files(source, (".png",))):
            yield folder.relative_to(source).as_posix(), folder
        return
    for path in _files(source, (".json",) if form == "sam" else _LABELS):
        yield _id(path, source), path


def _id(path: Path, folder: Path) -> str:
    return path.relative_to(folder).with_suffix("").as_posix()


def _read(path: Path, form: Form, zero: bool) -> Proposals:
    if form == "sam":
        return read_proposals(path)
    if form == "labels":
        regions = read_regions(path)
        _check_runs(path, regions)
        found = Proposals.from_regions(regions, zero)
        check_counts(path, len(found))
        return found
    pieces = [_piece(file) for file in _in_order(path)]
    sizes = {piece.size for piece in pieces}
    if len(sizes) > 1:
        said = " and ".join(f"{width}x{height}" for height, width in sorted(sizes)[:3])
        raise DataError(f"{path}: masks of {len(sizes)} sizes, {said}")
    return Proposals.from_counts(pieces[0].size, [piece.counts(0) for piece in pieces])


def _piece(path: Path) -> Proposals:
    mask = read_piece(path)
    _check_runs(path, mask)
    return Proposals.from_masks([mask], (int(mask.shape[0]), int(mask.shape[1])))


def _check_runs(path: Path, values: npt.NDArray[Any]) -> None:
    """Refuse pixels (H, W) that change so often down the columns that their runs would take more memory than they."""
    check_counts(path, 0, int(np.count_nonzero(values[1:] != values[:-1])) + values.shape[1])


def _in_order(folder: Path) -> list[Path]:
    """Return the PNGs of one image, 2.png before 10.png, as numbered by SAM's script."""
    files = [path for path in folder.iterdir() if path.suffix.lower() == ".png" and path.is_file()]
    return sorted(files, key=lambda path: (0, int(path.stem), "") if path.stem.isdecimal() else (1, 0, path.name))


def read_piece(path: Path) -> npt.NDArray[np.bool_]:
    """Return one proposal of a stack, (H, W): the pixels that are 255, or not 0 if the PNG holds 0 and one other value.

    Raises:
        DataError: the PNG is unreadable, in colour, or has several values without 255.
    """
    pixels = _grey(path)
    values = np.unique(pixels)
    if _FULL in values:
        return pixels == _FULL
    if len(values) > 2 or (len(values) == 2 and values[0] != 0):
        raise DataError(f"{path}: values {values[:8].tolist()}; a mask of a proposal holds 0 and 255, or 0 and 1")
    return pixels != 0


def read_regions(path: Path) -> npt.NDArray[np.integer[Any]]:
    """Return a label image, (H, W) integers: PNG or TIFF of 8 or 16 bits, or .npy.

    Raises:
        DataError: the file is unreadable, in colour, or does not hold whole numbers.
    """
    if path.suffix.lower() != ".npy":
        return _grey(path)
    regions = read_npy(path)
    if not isinstance(regions, np.ndarray) or regions.ndim != 2 or regions.dtype.kind not in "iu" or not regions.size:
        said = f"{regions.dtype} {regions.shape}" if isinstance(regions, np.ndarray) else type(regions).__name__
        raise DataError(f"{path}: holds {said}; a label image is (H, W) whole numbers")
    check_pixels(path, regions.size)
    return regions


def _grey(path: Path) -> npt.NDArray[Any]:
    with open_picture(path) as picture:
        if picture.format == "JPEG" or picture.mode not in ("1", "L", "P", "I", "I;16", "I;16B"):
            raise DataError(f"{path}: a picture of mode {picture.mode} ({picture.format}); expected grey PNG")
        pixels = np.asarray(decode(picture, path))
    return pixels.astype(np.uint8) if pixels.dtype == bool else pixels


def _check_photo(image_id: str, path: Path, proposals: Proposals, photos: dict[str, Path]) -> None:
    """Check that proposals have the size of their photo, rotated upright.

    Raises:
        DataError: there is no such photo, or it has another size.
    """
    if image_id not in photos:
        raise DataError(f"{path}: no photo {image_id!r} in the folder of images")
    with open_picture(photos[image_id]) as picture:
        stored = (picture.height, picture.width)
        upright = stored[::-1] if exif_orientation(picture) in SIDEWAYS else stored
    if len(proposals) and proposals.size != upright:
        found, want = (f"{width}x{height}" for height, width in (proposals.size, upright))
        turned = "; they were made without its EXIF turn" if proposals.size == stored else ""
        raise DataError(f"{path}: proposals of {found} pixels, the photo has {want}{turned}")


def _files(folder: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in suffixes and path.is_file() and not path.name.startswith("."):
            yield path
