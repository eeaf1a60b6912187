"""The masks of a folder by image id, under whatever pattern their names follow."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field

from wsseg_cli.data.files import file_stem
from wsseg_cli.errors import DataError

from .places import relative

_PICTURES = (".png", ".bmp", ".gif", ".tif", ".tiff", ".jpg", ".jpeg")


def mask_name_option() -> Any:
    """Return the field of the option `mask_name`."""
    return Field(
        "{id}.png",
        description="name of a photo's mask below `masks`, such as {id}_mask.png; {id}: the image's id, {name}: the "
        "photo's file name",
    )


def files_in(folder: Path, suffixes: Collection[str]) -> list[str]:
    """Return the visible files below `folder` with one of `suffixes` (case-insensitive), as sorted relative paths."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        inside = Path(place).relative_to(folder)
        found += [
            (inside / name).as_posix()
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in suffixes
        ]
    return sorted(found)


class MaskFiles:
    """The masks in `folder`, which has been listed once."""

    def __init__(self, folder: Path, pattern: str = "{id}.png") -> None:
        """Raise a DataError if the pattern has neither {id} nor {name}, or leads out of the folder."""
        rest = pattern.replace("{id}", "").replace("{name}", "")
        if rest == pattern or "{" in rest or "}" in rest:
            raise DataError(f"mask_name {pattern!r}: expected a file name with {{id}} or {{name}} in it")
        relative(pattern.replace("{id}", "0").replace("{name}", "0"), "mask_name")
        self.folder, self.pattern = folder, pattern
        self.files = frozenset(files_in(folder, _PICTURES) if folder.is_dir() else ())

    def of(self, image_id: str, photo: str | None = None) -> Path | None:
        """Return the mask of an image, None if there is none.

        photo: the photo's path from its folder, by default the id. `wsseg convert masks` writes ids with folders in
        them as one file name; these are found too.
        """
        found = self._name(image_id, photo)
        return None if found is None else self.folder / found

    def unmatched(self, photos: Mapping[str, str]) -> list[str]:
        """Return the sorted files that are not a mask of any of the `photos`, {id: file name}."""
        return sorted(self.files - {self._name(image_id, photo) for image_id, photo in photos.items()})

    def guess(self, ids: Collection[str]) -> str:
        """Return in words what is wrong with names that are all unmatched, with the pattern that might be meant."""
        name = min(self.files)
        stem = PurePosixPath(name).with_suffix("").as_posix()
        inside = max((image_id for image_id in ids if image_id in stem), key=len, default=None)
        meant = name.replace(inside, "{id}", 1) if inside else "{id}_mask.png"
        return (
            f"{self.folder} holds {len(self.files)} masks, such as {name}, and none is named after one of the "
            f"{len(ids)} photos ({self.pattern}); say how they are named, as in `mask_name: '{meant}'`"
        )

    def _name(self, image_id: str, photo: str | None) -> str | None:
        for name, file in ((image_id, photo or image_id), (file_stem(image_id), file_stem(photo or image_id))):
            wanted = self.pattern.replace("{id}", name).replace("{name}", file)
            if wanted in self.files:
                return wanted
        return None
