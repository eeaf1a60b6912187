"""Hugging Face data sets: a local imagefolder or parquet files, or a name on the hub; bytes stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import Field

from wsseg_cli.data.files import file_stem, write_atomically
from wsseg_cli.data.label_table import PHOTO_SUFFIXES, names_in_cell, without_suffix
from wsseg_cli.errors import DataError
from wsseg_cli.plugin.protocols import Dataset, PluginOptions
from wsseg_cli.types import ClassNames, Sample

from .arrow_tables import broken_tables
from .places import below, folder_of, refusals
from .turns import orientations

_LABEL_COLUMNS = ("labels", "label", "classes", "class", "tags")
_MASK_COLUMNS = ("mask", "annotation", "segmentation", "segmentation_mask")
_NAMED = 10  # broken tables that a message names
_LISTS = {"val": ("val", "validation"), "dev": ("dev", "validation")}


class HuggingFace(Dataset):
    """Rows of image, labels and, if there is one, mask; labels as names or as ids."""

    class Options(PluginOptions):
        """Options of a Hugging Face data set."""

        path: str = Field(
            min_length=1, description="folder of an imagefolder or of parquet files, or a name on the hub"
        )
        config: str | None = Field(None, description="configuration of a data set on the hub that has several")
        image: str = Field("image", description="column of the photos")
        labels: str | None = Field(None, description=f"column of the labels; by default {' or '.join(_LABEL_COLUMNS)}")
        mask: str | None = Field(None, description=f"column of the masks; by default {' or '.join(_MASK_COLUMNS)}")
        id: str | None = Field(None, description="column of the image ids; by default the photos' file names")
        saliency: Path | None = Field(None, description="folder of saliency PNGs, each named by its image's id")
        classes: tuple[str, ...] = Field(
            (), description="class names in order; needed for labels that are bare numbers"
        )

    def __init__(self, options: PluginOptions, work: Path) -> None:
        super().__init__(options, work)
        self._turned: dict[str, int] = {}

    def classes(self) -> ClassNames:
        """Return the class names: the options', the column's own, or all that stand in it in alphabetical order.

        Raises:
            DataError: labels are numbers and nothing names them.
        """
        if self.options.classes:
            return ClassNames(self.options.classes)
        if self._own_names:
            return ClassNames(self._own_names)
        names = {name for rows in self._data.values() for cell in rows[self._labels] for name in self._named(cell)}
        return ClassNames(sorted(names))

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the rows of a split, after writing out the photos and masks that lie inside of it.

        Raises:
            DataError: no such split, a row without photo, or labels that are unknown.
        """
        rows = self._rows(split)
        classes = self.classes()
        folder = self.work / "huggingface" / file_stem(split)
        masks = self._column(self.options.mask, _MASK_COLUMNS, "masks", needed=False)
        ids = self._ids(rows, split)
        files = []
        for number, image_id in enumerate(ids):
            row = rows[number]
            photo = self._file(row[self.options.image], folder / "image", image_id, f"{split}, row {number}")
            if photo is None:
                raise DataError(f"{self.options.path}: {split}, row {number} has no photo")
            mask = None if masks is None else row[masks]
            files.append((photo, self._file(mask, folder / "mask", image_id, f"mask of {split}, row {number}")))
        maps = [self._map(image_id) for image_id in ids]
        turns = orientations((photo, mask or lying) for (photo, mask), lying in zip(files, maps, strict=True))
        self._turned[split] = sum(turn != 1 for turn in turns)
        for number, (image_id, (photo, mask), lying) in enumerate(zip(ids, files, maps, strict=True)):
            labels = self._label_numbers(rows[number][self._labels], classes, f"{split}, row {number}")
            yield Sample(
                image_id=image_id,
                image=photo,
                labels=labels,
                mask=mask,
                extras={} if lying is None else {"saliency": lying},
                orientation=turns[number],
            )

    def facts(self) -> dict[str, Any]:
        """Return the columns that are used, and how many photos are turned."""
        masks = self._column(self.options.mask, _MASK_COLUMNS, "masks", needed=False)
        columns = ", ".join(name for name in (self.options.image, self._labels, masks) if name)
        return {"columns": columns, "photos turned by EXIF orientation": sum(self._turned.values())}

    def missing(self, splits: Sequence[str]) -> list[str]:
        """Return what is not there of the folders that the options name; nothing is fetched from the hub."""
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
        datasets.disable_progress_bars()
        place = str(self._root or self.options.path)
        try:
            data = datasets.load_dataset(place, self.options.config, cache_dir=str(self._cache))
            for name in self._pictures(data):
                data = data.cast_column(name, datasets.Image(decode=False))
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
            raise DataError(f"no column {self.options.image!r} of pictures; there are {there}; `image` names it")
        return [name for name, kind in features.items() if isinstance(kind, datasets.Image)]

    @cached_property
    def _features(self) -> Any:
        return next(iter(self._data.values())).features

    @cached_property
    def _labels(self) -> str:
        column = self._column(self.options.labels, _LABEL_COLUMNS, "labels", needed=True)
        return column or ""

    @property
    def _own_names(self) -> list[str] | None:
        kind = self._features[self._labels]
        names = getattr(getattr(kind, "feature", kind), "names", None)
        return list(names) if names else None

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
        # bytes inside of parquet keep a bare file name at best: where these repeat or lack, the row's number is the id
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
        """Return the file of a picture: where it lies, or written out of the data set with its bytes unchanged."""
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

    def _map(self, image_id: str) -> Path | None:
        """Return the place of an image's saliency map, there or not."""
        if self.options.saliency is None:
            return None
        folder = folder_of("saliency", self.options.saliency.expanduser())
        return below(folder, f"{image_id}.png", f"{self.options.path}: an image id")

    def _lying(self, path: str | None, where: str) -> Path:
        place = Path(path or "").resolve()
        allowed = [self._root] if self._root else [self._cache.resolve()]
        if not path or not any(place.is_relative_to(folder) for folder in allowed):
            raise DataError(
                f"{self.options.path}: {where} names the file {str(path)[:120]!r} outside of the data set; "
                "write parquet with the pictures inside"
            )
        return place

    def _named(self, cell: Any) -> list[str]:
        values = _values(cell)
        if not all(isinstance(value, str) for value in values):
            raise DataError(
                f"{self.options.path}: labels are numbers without names; give their names in order as `classes`"
            )
        return values

    def _label_numbers(self, cell: Any, classes: ClassNames, where: str) -> tuple[int, ...]:
        values = _values(cell)
        own = self._own_names
        found = set()
        for value in values:
            if isinstance(value, bool) or not isinstance(value, (int, str)):
                raise DataError(f"{self.options.path}: {where}: label {str(value)[:40]!r} is neither name nor number")
            # -1 stands for no label in columns of a single one
            if value == -1 and not isinstance(cell, list):
                continue
            if isinstance(value, int) and own is not None and 0 <= value < len(own):
                value = own[value]
            if isinstance(value, int) and not 0 <= value < len(classes):
                raise DataError(f"{self.options.path}: {where}: label {value} with {len(classes)} classes")
            try:
                found.add(value if isinstance(value, int) else classes.label(value))
            except DataError as error:
                raise DataError(f"{self.options.path}: {where}: {error}") from error
        return tuple(sorted(found))


def _values(cell: Any) -> list[Any]:
    if isinstance(cell, str):
        return names_in_cell(cell)
    return list(cell or ()) if not isinstance(cell, int) else [cell]


def _suffix(data: bytes) -> str:
    for start, suffix in ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"RIFF", ".webp"), (b"BM", ".bmp")):
        if data.startswith(start):
            return suffix
    return ".bin"
