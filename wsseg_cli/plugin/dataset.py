"""The kind of plugin that reads a data set: its options and its contract."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pydantic import Field, field_validator

from ..errors import DataError, PluginError
from ..types import ClassNames, Json, Sample
from .options import OptionsT, Plugin, PluginOptions
from .sources import Sources, sources_named


class DatasetOptions(PluginOptions):
    """Options of every data set."""

    extras: dict[str, Path] = Field(
        {},
        description="folders of further maps of each image by name, ID.png, as {depth: maps/depth}; besides saliency",
    )

    @field_validator("extras")
    @classmethod
    def _names(cls, extras: dict[str, Path]) -> dict[str, Path]:
        for name in extras:
            if not name.isidentifier() or name in ("image", "label", "labels", "mask", "saliency", "infer", "model"):
                raise ValueError(f"{name!r} cannot name an extra: use letters, digits and '_', no taken name")
        return extras


class Dataset(Plugin[OptionsT]):
    """A data set in some layout. `work` is a folder it may write into (rendered masks, bytes out of archives)."""

    def __init__(self, options: OptionsT, work: Path) -> None:
        super().__init__(options)
        self.work = work
        self.bad: dict[str, str] | None = None
        """Where `leave_out` collects entries that cannot be used, by name, with the reason; None: it raises."""

    def leave_out(self, entry: str, reason: str) -> None:
        """Report that an entry of the data set cannot be used: `prepare` names all of them at once, or skips them.

        entry: the image's id, or whatever names the entry.

        Raises:
            DataError: an image cannot be used, and no list collects such images.
        """
        if self.bad is None:
            raise DataError(reason)
        self.bad[entry] = reason

    def classes(self) -> ClassNames:
        """Return the names of the foreground classes."""
        raise PluginError(f"{type(self).__name__} does not implement `classes`")

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the samples of split `split`; a single entry that cannot be used is passed to `leave_out`.

        Raises:
            DataError: there is no such split, or nothing in it can be read.
        """
        raise PluginError(f"{type(self).__name__} does not implement `samples`")

    def missing(self, splits: Sequence[str]) -> list[str]:
        """Return which of the folders and files that these splits need are missing, one line each; opens no photo.

        It is called before anything is computed, so it must answer in seconds. The default checks the absolute paths
        among the options.
        """
        named = {name: getattr(self.options, name) for name in type(self.options).model_fields}
        paths = {name: value.expanduser() for name, value in named.items() if isinstance(value, Path)}
        return [
            f"{name}: no such file or folder {p}" for name, p in paths.items() if p.is_absolute() and not p.exists()
        ]

    def sources(self, splits: Sequence[str]) -> Sources:
        """Return what these splits are read from besides their samples' pictures, so that later changes are noticed.

        The default takes the files that options name and, in the folders that they name, every picture and whatever
        looks like a table.
        """
        return sources_named(self.options)

    def extra_folders(self) -> dict[str, Path]:
        """Return the folders of the option `extras` by name; relative ones are relative to the option `root`, if any.

        Raises:
            DataError: a folder does not exist.
        """
        named: Mapping[str, Path] = getattr(self.options, "extras", {})
        root = Path(getattr(self.options, "root", "")).expanduser()
        folders = {name: root / folder.expanduser() for name, folder in named.items()}
        for name, folder in folders.items():
            if not folder.is_dir():
                raise DataError(f"no folder {folder}; set the data set's option `extras.{name}`")
        return folders

    def facts(self) -> Json:
        """Return figures that `prepare` prints and keeps in its report, such as {"saliency IoU": 0.62}."""
        return {}
