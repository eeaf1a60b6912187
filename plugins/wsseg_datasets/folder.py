"""A folder of your own photos: labels in a table or as class folders, masks and saliency if there are any."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from wsseg_cli.data.label_table import PHOTO_SUFFIXES, read_label_table, without_suffix
from wsseg_cli.disk.reading import read_text
from wsseg_cli.errors import DataError
from wsseg_cli.plugin.protocols import Dataset, DatasetOptions, Sources
from wsseg_cli.types import ClassNames, Json, Sample

from .mask_files import MaskFiles, mask_name_option
from .mask_labels import labels_shown
from .names import rename_option, renamed, separator_option
from .places import file_of, folder_of, refusals, relative
from .turns import Rule, Turns, orientation_option, orientations

_SPLIT_FOLDERS = {"train": "train", "training": "train", "test": "test", "dev": "dev"} | dict.fromkeys(
    ("val", "valid", "validation"), "val"
)
"""The split that a folder of that name holds."""


@dataclass(frozen=True)
class _Photo:
    path: Path
    names: tuple[str, ...]


class FolderOptions(DatasetOptions):
    """Options of a folder; relative paths other than `root` are relative to `root`."""

    root: Path = Field(description="folder of the photos; may have sub-folders")
    labels: Literal["masks"] | Path | None = Field(
        None,
        description="table of images and labels, CSV or JSONL; or the word masks: what these show; by default "
        "sub-folders are classes, also below folders named train and val",
    )
    classes: tuple[str, ...] | None = Field(
        None, min_length=1, description="class names in the order of mask values; by default all names, sorted"
    )
    rename: dict[str, str | None] = rename_option()
    separator: str | None = separator_option()
    masks: Path | None = Field(None, description="folder of mask PNGs; needs `classes`")
    mask_name: str = mask_name_option()
    saliency: Path | None = Field(None, description="folder of saliency PNGs named like the photos")
    orientation: Rule = orientation_option()
    lists: dict[str, Path] = Field({}, description="list file of each split, one image per line")
    val_share: float = Field(
        0.2, gt=0, lt=1, description="without `lists`: share of the photos in `val`, drawn by a hash of the id"
    )


class Folder(Dataset[FolderOptions]):
    """Photos in a folder, labels in labels.csv or .jsonl or by class folder; ids are paths without suffix.

    EXIF orientation is applied, unless masks or saliency maps have the size of the photos as stored: then they were
    made from the pixels as stored.
    """

    def classes(self) -> ClassNames:
        """Return the class names.

        Raises:
            DataError: there are no photos, or nothing says what the mask values mean.
        """
        if self.options.classes is not None:
            return ClassNames(self.options.classes)
        if self.options.masks is not None:
            raise DataError("masks hold numbers; name the classes of the numbers from 1 on in the option `classes`")
        found = {name for photo in self._photos.values() for name in renamed(photo.names, self.options.rename)}
        names = sorted(found)
        if not names:
            raise DataError(f"{self.options.root}: no image has a label")
        return ClassNames(names)

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the photos of a split, in the order of their ids if there are no `lists`.

        Raises:
            DataError: there is no such split, an id in it has no photo, or a name is not a class.
        """
        classes = self.classes()
        masks, saliency = self._masks, self._sub_folder("saliency")
        names = self._names
        if names and masks is not None and masks.files and len(masks.unmatched(names)) == len(masks.files):
            raise DataError(masks.guess(names))
        for image_id in self._ids(split):
            photo = self._photos[image_id]
            try:
                labels = classes.labels(renamed(photo.names, self.options.rename))
            except DataError as error:
                said = f"{self._table or self._root}: image {image_id!r}: {error}; there are {', '.join(classes)}"
                self.leave_out(image_id, said)
                continue
            mask = self._mask(image_id)
            yield Sample(
                image_id=image_id,
                image=photo.path,
                labels=labels,
                mask=mask,
                extras={} if saliency is None else {"saliency": saliency / f"{image_id}.png"},
                orientation=self._turned.get(image_id, 1),
                labelled=self.options.labels != "masks" or mask is not None,
            )

    def facts(self) -> Json:
        """Return what the folder shows and the index does not."""
        facts: Json = {}
        if self._turns.said:
            facts["EXIF orientation"] = self._turns.said
        if self._table is not None:
            facts["photos that the table does not name"] = len(set(self._on_disk.values()) - self._paths)
        if self._masks is not None and (strays := self._masks.unmatched(self._names)):
            facts["masks that match no photo"] = f"{len(strays)}, such as {strays[0]} (option mask_name)"
        return facts

    def missing(self, splits: Sequence[str]) -> list[str]:
        """Return which of the folders, the table and the list files that these splits need are missing."""
        looks: list[Callable[[], object]] = [lambda: self._root]
        if not refusals(*looks):
            looks += [partial(self._sub_folder, name) for name in ("masks", "saliency")]
            looks += [partial(file_of, "labels", self._table)] if self._table else []
            looks += [partial(self._list_file, split) for split in splits]
        return refusals(*looks)

    def sources(self, splits: Sequence[str]) -> Sources:
        """Return the table and the lists of these splits, and the folders of photos and masks, which are listed."""
        tables = [self._table, *map(self._list_file, splits)]
        listed = [self._root, self._sub_folder("masks")]
        return Sources(tuple(filter(None, tables)), listed=tuple(filter(None, listed)))

    def _list_file(self, split: str) -> Path | None:
        """Return the list file of a split; None if splits are drawn at random."""
        lists: dict[str, Path] = self.options.lists
        if not lists:
            known = self._split_folders or ("train", "val")
            if split not in known:
                raise DataError(f"no split {split!r}: without the option `lists` there are {' and '.join(known)}")
            return None
        if split not in lists:
            raise DataError(f"no split {split!r}; the option `lists` has {', '.join(lists)}")
        return file_of("lists", self._root / lists[split].expanduser())

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
        """Every photo by its path from the root, with suffix, sorted; masks and saliency maps do not count."""
        others = [folder for folder in (self._sub_folder("masks"), self._sub_folder("saliency")) if folder]
        others += self.extra_folders().values()
        found = [path for path in self._root.rglob("*") if path.suffix.lower() in PHOTO_SUFFIXES and path.is_file()]
        inside = [path for path in found if not any(path.is_relative_to(folder) for folder in others)]
        names = {path.relative_to(self._root).as_posix(): path for path in inside}
        return {name: names[name] for name in sorted(names) if not any(p.startswith(".") for p in name.split("/"))}

    @cached_property
    def _photos(self) -> dict[str, _Photo]:
        """The photos of the data set by id, sorted."""
        said_by = str(self._table or self._root)
        if self._table is not None:
            named = read_label_table(
                self._table, separator=self.options.separator, classes=self.options.classes or (), bad=self.bad
            )
        elif self.options.labels == "masks":
            named = self._shown()
        else:
            depth = 1 if self._split_folders else 0
            named = {name: [name.split("/")[depth]] for name in self._on_disk if name.count("/") > depth}
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
            try:
                name = relative(name, said_by).as_posix()
            except DataError as error:
                self.leave_out(f"{said_by}: {name[:80]}", str(error))
                continue
            image_id = without_suffix(name)
            files = by_id.get(image_id, [])
            if len(files) > 1 and (name not in files or image_id in photos):
                raise DataError(
                    f"{said_by}: image id {image_id!r} stands for {' and '.join(files)}; ids must be unique"
                )
            if image_id in photos:
                raise DataError(f"{said_by}: image id {image_id!r} occurs twice; ids must be unique")
            path = self._root / (name if name in files or not files else files[0])
            photos[image_id] = _Photo(path, tuple(names))
        return dict(sorted(photos.items()))

    def _shown(self) -> dict[str, list[str]]:
        """Return the names of the classes in the mask of each photo; none without a mask."""
        if self._masks is None:
            raise DataError(f"{self._root}: `labels: masks` needs the option `masks`, a folder of mask PNGs")
        classes = self.classes()
        files = {name: self._masks.of(without_suffix(name), name) for name in self._on_disk}
        labels = labels_shown({name: path for name, path in files.items() if path is not None}, classes)
        return {name: [classes[label] for label in labels.get(name, ())] for name in files}

    @cached_property
    def _paths(self) -> set[Path]:
        return {photo.path for photo in self._photos.values()}

    @cached_property
    def _names(self) -> dict[str, str]:
        """The photos of the data set by id, as paths from the root."""
        return {i: photo.path.relative_to(self._root).as_posix() for i, photo in self._photos.items()}

    @cached_property
    def _masks(self) -> MaskFiles | None:
        folder = self._sub_folder("masks")
        return None if folder is None else MaskFiles(folder, self.options.mask_name)

    def _mask(self, image_id: str) -> Path | None:
        return None if self._masks is None else self._masks.of(image_id, self._names[image_id])

    @cached_property
    def _turns(self) -> Turns:
        saliency = self._sub_folder("saliency")
        files = [(p.path, self._mask(i) or _existing(saliency, i)) for i, p in self._photos.items()]
        return orientations(files, self.options.orientation)

    @cached_property
    def _turned(self) -> dict[str, int]:
        return dict(zip(self._photos, self._turns.applied, strict=True))

    @cached_property
    def _split_folders(self) -> dict[str, str]:
        """Folder by split, if class folders are in folders named after splits; else empty."""
        if self.options.labels is not None or self.options.lists:
            return {}
        tops = {name.split("/")[0] for name in self._on_disk if "/" in name}
        lists = {_SPLIT_FOLDERS.get(top.lower(), ""): top for top in sorted(tops)}
        deep = all(name.count("/") > 1 for name in self._on_disk if "/" in name)
        return lists if deep and "train" in lists and "" not in lists else {}

    def _sub_folder(self, option: str) -> Path | None:
        given: Path | None = getattr(self.options, option)
        if given is None:
            return None
        return folder_of(option, self._root / given.expanduser())

    def _ids(self, split: str) -> list[str]:
        path = self._list_file(split)
        if folder := self._split_folders:
            return [image_id for image_id in self._photos if image_id.startswith(f"{folder[split]}/")]
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
        if not ids:
            raise DataError(f"{path}: lists no images")
        unknown = [image_id for image_id in ids if image_id not in self._photos]
        for image_id in unknown:
            self.leave_out(image_id, f"{path}: image {image_id!r:.120} is not in the data set")
        return [image_id for image_id in ids if image_id in self._photos]


def _existing(folder: Path | None, image_id: str) -> Path | None:
    path = None if folder is None else folder / f"{image_id}.png"
    return path if path is not None and path.is_file() else None


def _place(image_id: str) -> float:
    """Return a number in [0, 1) that depends on the id alone: a photo stays in its split when others are added."""
    return int.from_bytes(hashlib.sha256(image_id.encode()).digest()[:8], "big") / 2**64
