"""Hand masks in the place of pseudo-masks: `train_seg.masks: corrected`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..data.files import file_stem
from ..data.index import Index
from ..data.label_table import PHOTO_SUFFIXES
from ..data.stores import labels_in_mask
from ..data.threads import in_threads
from ..errors import DataError
from ..recipe.loading import LoadedRecipe

_SHOWN = 5


def hand_masks(recipe: LoadedRecipe, index: Index) -> dict[str, Path]:
    """Return the hand mask of each image that has one, all checked; none where the recipe does not learn from such.

    Raises:
        DataError: the folder is missing, or some of its masks have another size than their photo, foreign values or no
            photo; the first are named. RecipeError: a variable that the section uses is not set.
    """
    if recipe.recipe.train_seg is None or recipe.recipe.train_seg.masks != "corrected":
        return {}
    folder = recipe.section("train-seg").hand_folder
    if folder is None:  # `prepare` has looked at these
        samples = [entry.sample for entry in index.entries.values()]
        return {sample.image_id: sample.mask for sample in samples if sample.mask is not None}
    return _masks_in(folder, index)


def require_folder(folder: Path | None) -> None:
    """Check that the folder of hand masks is there, if the recipe names one.

    Raises:
        DataError: it is not.
    """
    if folder is not None and not folder.is_dir():
        raise DataError(f"no folder {folder} of hand masks; `wsseg convert masks … --from TOOL` writes one")


def _masks_in(folder: Path, index: Index) -> dict[str, Path]:
    require_folder(folder)
    known = {name: image_id for image_id in index.entries for name in (image_id, file_stem(image_id))}
    found: dict[str, Path] = {}
    wrong: list[str] = []
    for path in _pictures_below(folder):
        image_id = known.get(path.relative_to(folder).with_suffix("").as_posix())
        if path.suffix != ".png" or path.is_dir():
            wrong.append(f"{path}: hand masks are PNG files, ID.png" + (", not folders" if path.is_dir() else ""))
        elif image_id is None:
            wrong.append(f"{path}: none of the {len(index.entries)} photos of the run is called like this")
        elif image_id in found:
            wrong.append(f"{path}: image {image_id!r} has a second hand mask, {found[image_id]}")
        else:
            found[image_id] = path

    def problem(image_id: str) -> str | None:
        try:
            labels_in_mask(found[image_id], index.classes, index.size(image_id))
        except DataError as error:
            return str(error)
        return None

    wrong += filter(None, in_threads(problem, found))
    if wrong:
        more = [f"… and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
        head = f"{len(wrong)} hand mask{'' if len(wrong) == 1 else 's'} cannot be used; fix or remove them"
        raise DataError("\n  ".join([head, *wrong[:_SHOWN], *more]))
    return found


def _pictures_below(folder: Path) -> list[Path]:
    places = [
        Path(place, name)
        for place, folders, names in os.walk(folder)
        for name in (*folders, *names)
        if not name.startswith(".") and name.lower().endswith(PHOTO_SUFFIXES)
    ]
    return sorted(places)


def masks_said(header: Mapping[str, Any]) -> str:
    """Return in words what the network of a model file learnt from, "" where its header does not say.

    header: `masks` as in the recipe; of corrected ones `learnt_from`, numbers of masks by kind, and how often hand
    masks count, `repeat_corrected`.
    """
    known = {"pseudo": "pseudo-masks", "ground_truth": "ground truth (fully supervised)"}
    counts, times = header.get("learnt_from"), header.get("repeat_corrected", 1)
    if header.get("masks") != "corrected" or not isinstance(counts, dict):
        return known.get(str(header.get("masks")), "")
    hand = counts.get("hand", 0)
    repeated = f", each of the hand masks {times} times" if times != 1 and hand else ""
    return f"corrected masks: pseudo {counts.get('pseudo', 0)}, hand {hand}{repeated}"
