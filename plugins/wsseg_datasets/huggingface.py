"""Hugging Face data sets: a local imagefolder or parquet files, or a name on the hub; bytes stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field

from wsseg_cli.data.files import file_stem, write_atomically
from wsseg_cli.data.label_table import PHOTO_SUFFIXES, without_suffix
from wsseg_cli.errors import DataError
from wsseg_cli.plugin.protocols import Dataset, DatasetOptions
from wsseg_cli.types import ClassNames, Json, Sample

from .arrow_tables import broken_tables, check_json
from .hf_labels import LabelColumn
from .names import rename_option, separator_option
from .places import below, folder_of, refusals
from .turns import Rule, orientation_option, orientations

_LABEL_COLUMNS = ("labels", "label", "classes", "class", "tags", "categories", "category", "objects")
_MASK_COLUMNS = ("mask", "annotation", "segmentation", "segmentation_mask")
_NUMBERS = ("int", "flo", "boo", "uin")
_NAMED = 10  # broken tables that a message names
_LISTS = {"val": ("val", "validation"), "dev": ("dev", "validation")}


class HuggingFaceOptions(DatasetOptions):
    """Options of a Hugging Face data set."""

    path: str = Field(min_length=1, description="folder of an imagefolder or of parquet files, or a name on the hub")
    config: str | None = Field(None, description="configuration of a data set on the hub that has several")
    image: str = Field("image", description="column of the photos")
    labels: str | None = Field(None, description=f"column of the labels; by default {' or '.join(_LABEL_COLUMNS)}")
    mask: str | None = Field(None, description=f"column of the masks; by default {' or '.join(_MASK_COLUMNS)}")
    id: str | None = Field(None, description="column of the image ids; by default the photos' file names")
    saliency: Path | None = Field(None, description="folder of saliency PNGs, each named by its image's id")
    classes: tuple[str, ...] = Field((), description="class names in order; needed for labels that are bare numbers")
    rename: dict[str, str | None] = rename_option()
    separator: str | None = separator_option()
    orientation: Rule = orientation_option()


class HuggingFace(Dataset[HuggingFaceOptions]):
    """Rows of image, labels and, if there is one, mask; labels as names or as ids."""

    def __init__(self, options: HuggingFaceOptions, work: Path) -> None:
        super().__init__(options, work)
        self._said: dict[str, str] = {}

    def classes(self) -> ClassNames:
        """Return the class names: the options', the column's own, or all that occur in it, in alphabetical order.

        Raises:
            DataError: labels are numbers and nothing names them.
        """
        try:
            return self._column_of_labels.classes(self._all_cells)
        except DataError as error:
            raise DataError(f"{self.options.path}: {error}") from None

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the rows of a split, after writing out the photos and masks that are inside it.

        Raises:
            DataError: there is no such split.
        """
        rows = self._rows(split)
        cells, classes = self._cells(rows), self.classes()
        vectors = self._column_of_labels.holds_vectors(self._all_cells, classes)
        labels = self._column_of_labels.labels(cells, classes, vectors)
        masks = self._column(self.options.mask, _MASK_COLUMNS, "masks", needed=False)
        files: dict[int, tuple[str, Path, Path | None, Path | None]] = {}
        for number, image_id in enumerate(self._ids(rows, split)):
            said = labels[number]
            try:
                if isinstance(said, str):
                    raise DataError(f"{self.options.path}: {split}, row {number}: {said}")
                files[number] = self._files(rows[number], masks, split, number, image_id)
            except DataError as error:
                self.leave_out(image_id, str(error))
        turns = orientations(((p, mask or lying) for _, p, mask, lying in files.values()), self.options.orientation)
        self._said[split] = turns.said
        for (number, (image_id, photo, mask, lying)), turn in zip(files.items(), turns.applied, strict=True):
            said = labels[number]
            yield Sample(
                image_id=image_id,
                image=photo,
                labels=said if isinstance(said, tuple) else (),
                mask=mask,
                extras={} if lying is None else {"saliency": lying},
                orientation=turn,
                labelled=self._column_of_labels.known(cells[number]),
            )

    def _files(
        self, row: Any, masks: str | None, split: str, number: int, image_id: str
    ) -> tuple[str, Path, Path | None, Path | None]:
        """Return the id of a row, its photo, its mask and its map."""
        folder = self.work / "huggingface" / file_stem(split)
        photo = self._file(row[self.options.image], folder / "image", image_id, f"{split}, row {number}")
        if photo is None:
            raise DataError(f"{self.options.path}: {split}, row {number} has no photo")
        cell = None if masks is None else row[masks]
        mask = self._file(cell, folder / "mask", image_id, f"mask of {split}, row {number}")
        return image_id, photo, mask, self._map(image_id, split)

    def facts(self) -> Json:
        """Return the columns that are used, and what was done about EXIF orientation."""
        masks = self._column(self.options.mask, _MASK_COLUMNS, "masks", needed=False)
        labels = [self._labels] if self._labels else self._flags
        columns = ", ".join(name for name in (self.options.image, *labels, masks) if name)
        turned = {f"EXIF orientation in {split}": said for split, said in self._said.items() if said}
        return {"columns": columns, **turned}

    def missing(self, splits: Sequence[str]) -> list[str]:
        """Return which folders that the options name are missing; nothing is fetched from the hub."""
        looks: list[Callable[[], object]] = []
        if self._is_path:
            looks.append(partial(folder_of, "path", Path(self.options.path).expanduser()))
        if self.options.saliency is not None:
            looks.append(partial(folder_of, "saliency", self.options.saliency.expanduser()))
        return refusals(*looks)

    @property
    def _is_path(self) -> bool:
        return self.options.path.startswith((".", "/", "~"))

    @cached_property
    def _root(self) -> Path | None:
        path = Path(self.options.path).expanduser()
        return path.resolve() if path.is_dir() else None

    @property
    def _cache(self) -> Path:
        return self.work / "huggingface" / "cache"

    @cached_property
    def _data(self) -> Any:
        """The splits by name, pictures not decoded."""
        import datasets

        if self._root is None and self._is_path:
            raise DataError(f"{self.options.path}: no such folder")
        if self._root is not None:
            check_json(self._root)
        datasets.disable_progress_bars()
        place = str(self._root or self.options.path)
        try:
            data = datasets.load_dataset(place, self.options.config, cache_dir=str(self._cache))
            for name in self._pictures(data):
                data = data.cast_column(name, datasets.Image(decode=False))
            for rows in data.values():
                rows.data.validate(full=True)  # text that is not UTF-8 would fail only where it is used
        except DataError:
            raise
        except Exception as error:  # the library fails in many ways on broken files and without a network
            cause = error.__cause__ or error
            reason = f"{type(cause).__name__}: {cause}"[:300]
            tables = "".join(f"\n  {line}" for line in (broken_tables(self._root) if self._root else [])[:_NAMED])
            raise DataError(f"{place}: Hugging Face's datasets cannot read it ({reason}){tables}") from error
        return data

    def _pictures(self, data: Any) -> list[str]:
        import datasets

        features = next(iter(data.values())).features
        if not isinstance(features.get(self.options.image), datasets.Image):
            there = ", ".join(f"{name} ({type(kind).__name__})" for name, kind in features.items())
            raise DataError(f"no column {self.options.image!r} of pictures; there are {there}; set the option `image`")
        return [name for name, kind in features.items() if isinstance(kind, datasets.Image)]

    @cached_property
    def _features(self) -> Any:
        return next(iter(self._data.values())).features

    @cached_property
    def _labels(self) -> str | None:
        """The column of labels; None if each class has a column of its own."""
        flags = self.options.labels is None and bool(self._flags)
        return self._column(self.options.labels, _LABEL_COLUMNS, "labels", needed=not flags)

    @cached_property
    def _flags(self) -> list[str]:
        """The columns of 0 and 1, one per class, if there are any and there is no column of labels."""
        if any(name in self._features for name in _LABEL_COLUMNS):
            return []
        numbers = [name for name, kind in self._features.items() if getattr(kind, "dtype", "")[:3] in _NUMBERS]
        wanted = [name for name in self.options.classes if name in numbers] or numbers
        values = {name: {v for rows in self._data.values() for v in rows[name]} for name in wanted}
        return wanted if values and all(found <= {0, 1, None} for found in values.values()) else []

    def _cells(self, rows: Any) -> list[Any]:
        if self._labels is not None:
            return list(rows[self._labels])
        columns = {name: rows[name] for name in self._flags}
        return [[name for name, values in columns.items() if values[row]] for row in range(len(rows))]

    @cached_property
    def _all_cells(self) -> list[Any]:
        return [cell for rows in self._data.values() for cell in self._cells(rows)]

    @cached_property
    def _column_of_labels(self) -> LabelColumn:
        options = self.options
        try:
            return LabelColumn(
                self._features[self._labels] if self._labels else None,
                classes=options.classes or tuple(self._flags if self._labels is None else ()),
                separator=options.separator,
                rename=options.rename,
            )
        except DataError as error:
            raise DataError(f"{options.path}: column {self._labels!r}: {error}") from None

    def _column(self, named: str | None, usual: tuple[str, ...], what: str, needed: bool) -> str | None:
        columns = list(self._features)
        found = [named] if named is not None else [name for name in usual if name in columns]
        if (named is not None and named not in columns) or (needed and not found):
            raise DataError(
                f"{self.options.path}: no column {named or ' or '.join(usual)} for the {what}; "
                f"there are {', '.join(columns)}"
            )
        return found[0] if found else None

    def _rows(self, split: str) -> Any:
        for name in _LISTS.get(split, (split,)):
            if name in self._data:
                return self._data[name]
        raise DataError(f"{self.options.path}: no split {split!r}; there are {', '.join(self._data)}")

    def _ids(self, rows: Any, split: str) -> list[str]:
        if self.options.id is not None:
            if self.options.id not in rows.column_names:
                raise DataError(f"{self.options.path}: no column {self.options.id!r} for the ids")
            return [str(value) for value in rows[self.options.id]]
        paths = [cell.get("path") if isinstance(cell, dict) else None for cell in rows[self.options.image]]
        names = [self._name(path, split) for path in paths]
        # bytes inside parquet have a bare file name at best: if names repeat or are missing, the row's number is the id
        if None in names or len(set(names)) != len(names):
            return [f"{split}-{number:06d}" for number in range(len(names))]
        return [name for name in names if name is not None]

    def _name(self, path: str | None, split: str) -> str | None:
        if not path:
            return None
        place = Path(path)
        inside = place.relative_to(self._root) if self._root and place.is_relative_to(self._root) else Path(place.name)
        parts = (
            inside.parts[1:]
            if len(inside.parts) > 1 and inside.parts[0] in _LISTS.get(split, (split,))
            else inside.parts
        )
        return without_suffix(PurePosixPath(*parts).as_posix())

    def _file(self, cell: Any, folder: Path, image_id: str, where: str) -> Path | None:
        """Return the file of a picture: where it is, or written out of the data set with its bytes unchanged."""
        if cell is None:
            return None
        data, path = (cell.get("bytes"), cell.get("path")) if isinstance(cell, dict) else (None, None)
        if data is None:
            return self._lying(path, where)
        suffix = PurePosixPath(path or "").suffix.lower()
        target = folder / (file_stem(image_id) + (suffix if suffix in PHOTO_SUFFIXES else _suffix(data)))
        if not target.is_file() or target.stat().st_size != len(data):
            write_atomically(target, lambda temporary: temporary.write_bytes(data))
        return target

    def _map(self, image_id: str, split: str) -> Path | None:
        """Return the path of an image's saliency map, existing or not; a folder with the split's name comes first."""
        if self.options.saliency is None:
            return None
        folder = folder_of("saliency", self.options.saliency.expanduser())
        nested = folder / file_stem(split)
        folder = nested if nested.is_dir() else folder
        return below(folder, f"{image_id}.png", f"{self.options.path}: an image id")

    def _lying(self, path: str | None, where: str) -> Path:
        place = None if not path or "\0" in path else Path(path).resolve()
        allowed = [self._root] if self._root else [self._cache.resolve()]
        if place is None or not any(place.is_relative_to(folder) for folder in allowed):
            raise DataError(
                f"{self.options.path}: {where} names the file {str(path)[:120]!r} outside of the data set; "
                "write parquet files that contain the pictures"
            )
        return place


def _suffix(data: bytes) -> str:
    for start, suffix in ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"BM", ".bmp")):
        if data.startswith(start):
            return suffix
    return ".bin"
