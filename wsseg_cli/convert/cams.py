"""`wsseg convert cams`: the score maps of other repositories (`.npy`, `.pkl`) to ours and back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from ..data.files import write_atomically
from ..data.stores import ScoreStore, read_scores
from ..errors import DataError, RecipeError
from ..foreign.npy import read
from ..foreign.npy_out import AsTensor, npy_bytes
from ..ops.masks import present_values
from ..types import FloatArray, ScoreMap, resize_scores

Form = Literal["psa", "crf", "irn", "puzzlecam", "recurseed"]
"""psa: {class: map}, also SEAM, EPS, PPC, SC-CAM. crf: {0: background, class + 1: map}. irn: keys, cam, high_res.
puzzlecam: keys with a leading 0, cam and hr_cam, or rw after its walk. recurseed: keys, seed."""

_SLACK = 1e-3  # float16 and resizing may round to slightly above 1
_STORED_STRIDE = 4  # stride of the small maps in IRN's and PuzzleCAM's files


@dataclass
class ConvertedCams:
    """The outcome: files written, maps by class, and the files that failed, with the reason."""

    out: Path
    written: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    failures: list[tuple[Path, str]] = field(default_factory=list)


def run(
    source: Path,
    out: Path,
    *,
    form: Form | None = None,
    num_classes: int | None = None,
    stride: int = 1,
    divide: float = 1.0,
) -> ConvertedCams:
    """Convert a folder of score maps: ours (`.safetensors`) to another project's format, all others to ours.

    form: format of the other project; by default inferred from the keys, where "psa" and "crf" look alike and "psa"
    is assumed. num_classes: refuse classes beyond. stride: of the stored maps. divide: brings values into [0, 1].

    Raises:
        DataError: there are no such files. Files that cannot be converted are in `failures`; all others are written.
    """
    if form is not None and form not in get_args(Form):
        raise RecipeError(f"unknown form {form!r}; expected one of {', '.join(get_args(Form))}")
    if stride < 1 or not divide > 0:
        raise RecipeError(f"stride {stride} and divisor {divide}: expected positive numbers")
    if not source.is_dir():
        raise DataError(f"{source}: no such folder")
    if any(source.glob("*.safetensors")):
        return _export(source, out, form or "psa")
    files = list(_files(source))
    if not files:
        raise DataError(f"{source}: holds no .npy, .pkl or .safetensors files")
    result = ConvertedCams(out)
    store = ScoreStore(out)
    for path in files:
        try:
            scores = score_map(read(path), path.relative_to(source).with_suffix("").as_posix(), form, divide)
            _check_classes(scores, num_classes)
            store.write(scores, stride)
        except DataError as error:
            result.failures.append((path, str(error)))
            continue
        result.written += 1
        result.counts.update(scores.classes.tolist())
    return result


def score_map(value: Any, image_id: str, form: Form | None = None, divide: float = 1.0) -> ScoreMap:
    """Return the content of one file as a score map.

    value: what `foreign.npy.read` gives. form: None infers it from the keys.

    Raises:
        DataError: not a dict of that form, maps of different sizes, or values outside [0, 1].
    """
    if not isinstance(value, dict) or not value:
        raise DataError(f"image {image_id!r}: the file holds no dict of maps, or an empty one")
    form = form or _form_of(value, image_id)
    if form in ("psa", "crf"):
        keys, rows = _by_class(value, image_id)
    else:
        keys, rows = _by_keys(value, image_id, form)
    background = None
    if form not in ("psa", "irn"):
        # these count the background as 0; it has its own row, or appears only in the keys
        if len(rows) == len(keys) - 1 and keys[0] == 0:
            keys = keys[1:]
        elif len(rows) == len(keys) and len(keys) and keys[0] == 0:
            background, keys, rows = rows[0], keys[1:], rows[1:]
        keys = keys - 1
    if len(rows) != len(keys) or len(set(keys.tolist())) != len(keys) or (len(keys) and keys.min() < 0):
        raise DataError(f"image {image_id!r}: {len(rows)} maps for the keys {keys.tolist()[:20]} in the form {form}")
    order = np.argsort(keys)
    strided = _second(value, rows, image_id) if form in ("irn", "puzzlecam") else None
    return ScoreMap(
        image_id=image_id,
        classes=keys[order].astype(np.int64),
        scores=_in_range(rows[order], divide, image_id),
        size=(rows.shape[1], rows.shape[2]),
        background=None if background is None else _in_range(background, divide, image_id),
        strided=None if strided is None else _in_range(strided[order], divide, image_id),
    )


def _second(value: dict[Any, Any], rows: npt.NDArray[Any], image_id: str) -> npt.NDArray[Any] | None:
    """Return the small maps that IRN and PuzzleCAM store next to those at full size, if the two match."""
    small = value.get("cam")
    if not isinstance(small, np.ndarray) or small.shape != (len(rows), *_strided_size(rows.shape[1:])):
        return None
    return _numbers(small, image_id)


def _strided_size(size: tuple[int, ...]) -> tuple[int, int]:
    return (size[0] - 1) // _STORED_STRIDE + 1, (size[1] - 1) // _STORED_STRIDE + 1


def dict_of(scores: ScoreMap, form: Form) -> dict[Any, Any]:
    """Return a score map at image size as a dict that `npy_out.npy_bytes` writes.

    Raises:
        DataError: `form` is "crf" and the map has no background. RecipeError: the form cannot be written.
    """
    full = resize_scores(scores.scores, scores.size)
    if form == "psa":
        return dict(zip(scores.classes.tolist(), full, strict=True))
    if form == "crf":
        every = scores.full()
        return dict(zip(present_values(scores.classes).tolist(), every, strict=True))
    if form not in ("irn", "puzzlecam"):
        raise RecipeError(f"score maps are not written in the form {form!r}; psa, crf, irn and puzzlecam are")
    small = resize_scores(scores.scores if scores.strided is None else scores.strided, _strided_size(scores.size))
    if form == "irn":
        return {"keys": AsTensor(scores.classes), "cam": AsTensor(small), "high_res": full}
    return {"keys": present_values(scores.classes).astype(np.int64), "cam": AsTensor(small), "hr_cam": full}


def _export(source: Path, out: Path, form: Form) -> ConvertedCams:
    result = ConvertedCams(out)
    for path in sorted(source.glob("*.safetensors")):
        try:
            scores = read_scores(path)
            data = npy_bytes(dict_of(scores, form))
        except DataError as error:
            result.failures.append((path, str(error)))
            continue
        # the id inside a file may be anything; the file's own name is safe
        write_atomically(out / f"{path.stem}.npy", partial(Path.write_bytes, data=data))
        result.written += 1
        result.counts.update(scores.classes.tolist())
    return result


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in (".npy", ".pkl") and path.is_file() and not path.name.startswith("."):
            yield path


def _form_of(value: dict[Any, Any], image_id: str) -> Form:
    if all(isinstance(key, int) for key in value):
        return "psa"
    marks: dict[str, Form] = {"high_res": "irn", "hr_cam": "puzzlecam", "rw": "puzzlecam", "seed": "recurseed"}
    form = next((marks[name] for name in marks if name in value), None)
    if form is None:
        keys = [str(key)[:20] for key in list(value)[:6]]
        raise DataError(f"image {image_id!r}: keys {keys}; expected classes, or keys and maps")
    return form


def _by_class(value: dict[Any, Any], image_id: str) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    if not all(type(key) is int for key in value):
        raise DataError(f"image {image_id!r}: expected a dict from class numbers to maps")
    maps = list(value.values())
    if not all(isinstance(part, np.ndarray) and part.ndim == 2 and part.shape == maps[0].shape for part in maps):
        raise DataError(f"image {image_id!r}: expected maps of one size (H, W), one for each class")
    return np.array(list(value), np.int64), _numbers(np.stack(maps), image_id)


def _by_keys(value: dict[Any, Any], image_id: str, form: Form) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    names = {"irn": ("high_res",), "puzzlecam": ("hr_cam", "rw"), "recurseed": ("seed",)}[form]
    rows = next((value[name] for name in names if name in value), None)
    keys = value.get("keys")
    keys = np.asarray(keys) if isinstance(keys, list) and all(type(key) is int for key in keys) else keys
    if not isinstance(keys, np.ndarray) or keys.ndim != 1 or keys.dtype.kind not in "iu":
        raise DataError(f"image {image_id!r}: no `keys` with class numbers")
    if not isinstance(rows, np.ndarray) or rows.ndim != 3:
        raise DataError(f"image {image_id!r}: no maps (K, H, W) under {' or '.join(names)}")
    return keys.astype(np.int64), _numbers(rows, image_id)


def _numbers(rows: npt.NDArray[Any], image_id: str) -> npt.NDArray[Any]:
    if rows.dtype.kind not in "biuf" or 0 in rows.shape[1:]:
        raise DataError(f"image {image_id!r}: maps of type {rows.dtype} and shape {rows.shape}")
    return rows


def _in_range(rows: npt.NDArray[Any], divide: float, image_id: str) -> FloatArray:
    scores = rows.astype(np.float32) / np.float32(divide)
    if not np.isfinite(scores).all():
        raise DataError(f"image {image_id!r}: has values that are not finite")
    low, high = (float(scores.min()), float(scores.max())) if scores.size else (0.0, 0.0)
    if low < -_SLACK or high > 1 + _SLACK:
        hint = "; SC-CAM's script writes 0 and 255, which --divide 255 fixes" if high == 255 else ""
        raise DataError(f"image {image_id!r}: values from {low:.4g} to {high:.4g}; expected 0 to 1{hint}")
    return np.clip(scores, 0.0, 1.0)


def _check_classes(scores: ScoreMap, num_classes: int | None) -> None:
    if num_classes is not None and len(scores.classes) and scores.classes[-1] >= num_classes:
        raise DataError(
            f"image {scores.image_id!r}: class {int(scores.classes[-1])} is out of range for {num_classes} classes; "
            "dicts that begin with the background are of the form crf"
        )
