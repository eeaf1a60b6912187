"""A folder of one's own photos: labels in a table or as class folders, masks and saliency if there are any."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from wsseg_cli.data.label_table import PHOTO_SUFFIXES, read_label_table, without_suffix
from wsseg_cli.disk.reading import read_text
from wsseg_cli.errors import DataError
from wsseg_cli.plugin.protocols import Dataset, PluginOptions
from wsseg_cli.types import ClassNames, Sample

from .mask_labels import labels_shown
from .places import folder_of, refusals, relative
from .turns import orientations


@dataclass(frozen=True)
class _Photo:
    path: Path
    names: tuple[str, ...]


class Folder(Dataset):
    """Photos in a folder, labels in labels.csv or .jsonl or by class folder; ids are paths without suffix.

    EXIF orientation is applied, unless a mask or a saliency map has the size of the photo as it is stored: then they
    were made of unturned pixels.
    """

    class Options(PluginOptions):
        """Options of a folder; relative paths other than `root` count from `root`."""

        root: Path = Field(description="folder of the photos; may have sub-folders")
        labels: Literal["masks"] | Path | None = Field(
            None,
            description="table with columns image and labels, CSV or JSONL; or the word masks: what these show; "
            "by default sub-folders are classes",
        )
        classes: tuple[str, ...] | None = Field(
            None, min_length=1, description="class names in the order of mask values; by default all names, sorted"
        )
        masks: Path | None = Field(None, description="folder of mask PNGs named like the photos; needs `classes`")
        saliency: Path | None = Field(None, description="folder of saliency PNGs named like the photos")
        lists: dict[str, Path] = Field({}, description="list file of each split, one image per line")
        val_share: float = Field(
            0.2, gt=0, lt=1, description="without `lists`: share of the photos in `val`, drawn by a hash of the id"
        )

    def classes(self) -> ClassNames:
        """Return the class names.

        Raises:
            DataError: none, or masks without a word on what their values mean.
        """
        if self.options.classes is not None:
            return ClassNames(self.options.classes)
        if self.options.masks is not None:
            raise DataError("masks hold numbers: say in the option `classes` which names they stand for, from 1 on")
        names = sorted({name for photo in self._photos.values() for name in photo.names})
        if not names:
            raise DataError(f"{self.options.root}: no image has a label")
        return ClassNames(names)

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the photos of a split, without `lists` in the order of their ids.

        Raises:
            DataError: no such split, an id in it that is not there, or a name that is no class.
        """
        classes = self.classes()
        ids = self._ids(split)
        masks, saliency = self._sub_folder("masks"), self._sub_folder("saliency")
        for image_id in ids:
            photo = self._photos[image_id]
            yield Sample(
                image_id=image_id,
                image=photo.path,
                labels=self._labels(image_id, photo, classes),
                mask=_existing(masks, image_id),
                extras={} if saliency is None else {"saliency": saliency / f"{image_id}.png"},
                orientation=self._turned.get(image_id, 1),
            )

    def facts(self) -> dict[str, Any]:
        """Return what a look at the folder shows and the index does not."""
        facts: dict[str, Any] = {"photos turned by EXIF orientation": len(self._turned)}
        if self._table is not None:
            facts["photos that the table does not name"] = len(set(self._on_disk.values()) - self._paths)
        return facts

    def missing(self, splits: Sequence[str]) -> list[str]:
        """Return what is not there of the folders, the table and the list files that these splits need."""
        looks: list[Callable[[], object]] = [lambda: self._root]
        if not refusals(*looks):
            looks += [partial(self._sub_folder, name) for name in ("masks", "saliency")]
            looks += [partial(self._file, "labels", self._table)] if self._table else []
            looks += [partial(self._list_file, split) for split in splits]
        return refusals(*looks)

    def _file(self, option: str, path: Path) -> Path:
        if not path.is_file():
            raise DataError(f"no file {path}; set the data set's option `{option}`")
        return path

    def _list_file(self, split: str) -> Path | None:
        """Return the list file of a split; None where splits are drawn."""
        lists: dict[str, Path] = self.options.lists
        if not lists:
            if split not in ("train", "val"):
                raise DataError(f"no split {split!r}: without the option `lists` there are train and val")
            return None
        if split not in lists:
            raise DataError(f"no split {split!r}; the option `lists` has {', '.join(lists)}")
        return self._file("lists", self._root / lists[split].expanduser())

    @cached_property
    def _root(self) -> Path:
        root: Path = self.options.root.expanduser()
        if not root.is_dir():
            raise DataError(f"no folder {root} of photos; set the data set's option `root`")
        return root

    @property
    def _table(self) -> Path | None:
        given = self.options.labels
        return self._root / given.expanduser() if isinstance(given, Path) else None

    @cached_property
    def _on_disk(self) -> dict[str, Path]:
        """Every photo by its path from the root, with suffix, sorted; masks and saliency maps are none."""
        others = [folder for folder in (self._sub_folder("masks"), self._sub_folder("saliency")) if folder]
        found = [path for path in self._root.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file()]
        inside = [path for path in found if not any(path.is_relative_to(folder) for folder in others)]
        names = {path.relative_to(self._root).as_posix(): path for path in inside}
        return {name: names[name] for name in sorted(names) if not any(p.startswith(".") for p in name.split("/"))}

    @cached_property
    def _photos(self) -> dict[str, _Photo]:
        """The photos of the data set by id, sorted."""
        said_by = str(self._table or self._root)
        if self._table is not None:
            named = read_label_table(self._table)
        elif self.options.labels == "masks":
            named = self._shown()
        else:
            named = {name: [name.split("/")[0]] for name in self._on_disk if "/" in name}
            if not named:
                raise DataError(
                    f"{self._root} has neither class folders with photos nor the option `labels`, a table with the "
                    "columns image and labels"
                )
        by_id: dict[str, list[str]] = {}
        for name in self._on_disk:
            by_id.setdefault(without_suffix(name), []).append(name)
        photos: dict[str, _Photo] = {}
        for name, names in named.items():
            name = relative(name, said_by).as_posix()
            image_id = without_suffix(name)
            files = by_id.get(image_id, [])
            if len(files) > 1 and (name not in files or image_id in photos):
                raise DataError(
                    f"{said_by}: image id {image_id!r} stands for {' and '.join(files)}; ids must be unique"
                )
            if image_id in photos:
                raise DataError(f"{said_by}: image id {image_id!r} stands twice; ids must be unique")
            path = self._root / (name if name in files or not files else files[0])
            photos[image_id] = _Photo(path, tuple(names))
        return dict(sorted(photos.items()))

    def _shown(self) -> dict[str, list[str]]:
        """Return the names of the classes in the mask of each photo; none without a mask."""
        masks = self._sub_folder("masks")
        if masks is None:
            raise DataError(f"{self._root}: `labels: masks` needs the option `masks`, a folder of mask PNGs")
        classes = self.classes()
        files = {name: _existing(masks, without_suffix(name)) for name in self._on_disk}
        labels = labels_shown({name: path for name, path in files.items() if path is not None}, classes)
        return {name: [classes[label] for label in labels.get(name, ())] for name in files}

    @cached_property
    def _paths(self) -> set[Path]:
        return {photo.path for photo in self._photos.values()}

    @cached_property
    def _turned(self) -> dict[str, int]:
        """The EXIF orientation by id of the photos that are to be turned; none where masks or maps forbid it."""
        masks, saliency = self._sub_folder("masks"), self._sub_folder("saliency")
        files = ((p.path, _existing(masks, i) or _existing(saliency, i)) for i, p in self._photos.items())
        turns = zip(self._photos, orientations(files), strict=True)
        return {image_id: turn for image_id, turn in turns if turn != 1}

    def _sub_folder(self, option: str) -> Path | None:
        given: Path | None = getattr(self.options, option)
        if given is None:
            return None
        return folder_of(option, self._root / given.expanduser())

    def _ids(self, split: str) -> list[str]:
        path = self._list_file(split)
        if path is None:
            ids = [i for i in self._photos if (_place(i) < self.options.val_share) == (split == "val")]
            if not ids:
                raise DataError(
                    f"{len(self._photos)} photos are too few to divide by val_share {self.options.val_share}: "
                    f"{split!r} got none; name them in `lists`"
                )
            return ids
        try:
            lines = read_text(path, 64 << 20, "utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"split {split!r}: {path} cannot be read ({error})") from None
        ids = [without_suffix(line.strip()) for line in lines if line.strip()]
        unknown = [image_id for image_id in ids if image_id not in self._photos]
        if not ids:
            raise DataError(f"{path}: names no image")
        if unknown:
            raise DataError(f"{path}: {len(unknown)} images are not in the data set, first {unknown[0]!r}")
        return ids

    def _labels(self, image_id: str, photo: _Photo, classes: ClassNames) -> tuple[int, ...]:
        try:
            return tuple(sorted({classes.label(name) for name in photo.names}))
        except DataError as error:
            raise DataError(
                f"{self._table or self._root}: image {image_id!r}: {error}; there are {', '.join(classes)}"
            ) from None


def _existing(folder: Path | None, image_id: str) -> Path | None:
    path = None if folder is None else folder / f"{image_id}.png"
    return path if path is not None and path.is_file() else None


def _place(image_id: str) -> float:
    """Return a number in [0, 1) that depends on the id alone: a photo stays in its split when others come."""
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "big") / 2**64
