"""The layout of RecurSeed and EdgePredictMix: SPLIT/image, SPLIT/mask, SPLIT/xml; a split is its folder's contents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from pydantic import Field

from wsseg_cli.data.class_files import read_class_names
from wsseg_cli.data.label_table import PHOTO_SUFFIXES, without_suffix
from wsseg_cli.errors import DataError
from wsseg_cli.plugin.protocols import Dataset, DatasetOptions, Sources
from wsseg_cli.types import ClassNames, Json, Sample

from .mask_files import MaskFiles, files_in
from .names import rename_option, renamed
from .places import existing, folder_of, refusals
from .turns import Rule, orientation_option, orientations
from .voc_xml import kept, labels_of, read_objects

_FOLDERS = {"val": ["validation", "val"]}


class RSEPMOptions(DatasetOptions):
    """Options of this layout."""

    root: Path = Field(description="folder with train/, train_aug/, validation/ …")
    classes: Path | None = Field(
        None, description="class names, JSON or text; by default all names in the annotations in alphabetical order"
    )
    difficult: bool = Field(True, description="objects marked difficult give labels, as published")
    flat: bool = Field(False, description="objects whose box has no width or height give labels; published: no")
    rename: dict[str, str | None] = rename_option()
    saliency: Path | None = Field(None, description="folder of saliency maps, one PNG per image")
    orientation: Rule = orientation_option()


class RSEPM(Dataset[RSEPMOptions]):
    """Photos, masks and VOC annotations side by side, one folder per split; labels come from the annotations."""

    paper = "Jo, Yu and Kim, https://arxiv.org/abs/2204.06754"

    def __init__(self, options: RSEPMOptions, work: Path) -> None:
        super().__init__(options, work)
        self._classes: ClassNames | None = None
        self._said: dict[str, str] = {}

    def classes(self) -> ClassNames:
        """Return the class names.

        Raises:
            DataError: a file is broken, or no annotation names a class.
        """
        if self._classes is None:
            self._classes = self._named() if self.options.classes is None else read_class_names(self.options.classes)
        return self._classes

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the images of a split by name. A split without xml/ has no labels, one without mask/ no masks.

        Raises:
            DataError: there is no such split.
        """
        folder = self._folder(split)
        classes = self.classes()
        masks, notes = MaskFiles(folder / "mask"), folder / "xml"
        has_notes = notes.is_dir()
        saliency = self.options.saliency
        photos = {without_suffix(name): folder / "image" / name for name in files_in(folder / "image", PHOTO_SUFFIXES)}
        turns = orientations(((p, masks.of(i)) for i, p in photos.items()), self.options.orientation, "ignore")
        self._said[split] = turns.said
        for (stem, photo), orientation in zip(photos.items(), turns.applied, strict=True):
            try:
                labels = self._labels(notes / f"{stem}.xml", classes) if has_notes else ()
            except DataError as error:
                self.leave_out(stem, str(error))
                continue
            yield Sample(
                image_id=stem,
                image=photo,
                labels=labels,
                mask=masks.of(stem),
                extras={} if saliency is None else {"saliency": saliency / f"{stem}.png"},
                orientation=orientation,
                labelled=has_notes,
            )

    def facts(self) -> Json:
        """Return which objects give labels, and what was done about EXIF orientation."""
        rules = self.options
        turned = {f"EXIF orientation in {split}": said for split, said in self._said.items() if said}
        return {"labels": f"from annotations, difficult {'kept' if rules.difficult else 'dropped'}", **turned}

    def missing(self, splits: Sequence[str]) -> list[str]:
        """Return what is missing of the folders of these splits and of what the options name."""
        o = self.options
        looks: list[Callable[[], object]] = [partial(folder_of, "root", o.root)]
        if o.root.is_dir():
            looks += [partial(self._folder, split) for split in splits]
        looks += [partial(read_class_names, o.classes)] if o.classes else []
        looks += [partial(folder_of, "saliency", o.saliency)] if o.saliency else []
        return refusals(*looks)

    def sources(self, splits: Sequence[str]) -> Sources:
        """Return the table of class names, the annotations of these splits, and their folders of photos and masks."""
        folders = [self._folder(split) for split in splits]
        notes = [path for folder in folders for path in sorted((folder / "xml").glob("*.xml"))]
        listed = [folder / name for folder in folders for name in ("image", "mask") if (folder / name).is_dir()]
        return Sources((self.options.classes,) if self.options.classes else (), tuple(notes), tuple(listed))

    def _folder(self, split: str) -> Path:
        names = _FOLDERS.get(split, [split])
        if any("/" in name or name.startswith(".") for name in names):
            raise DataError(f"{self.options.root}: no split {split!r}")
        folder = existing(self.options.root, names, f"split {split!r}")
        if not (folder / "image").is_dir():
            raise DataError(f"{folder}: has no folder image/; expected image/, mask/ and xml/")
        return folder

    def _labels(self, path: Path, classes: ClassNames) -> tuple[int, ...]:
        objects = kept(read_objects(path), difficult=self.options.difficult, flat=self.options.flat)
        try:
            return labels_of(objects, classes, self.options.rename)
        except DataError as error:
            raise DataError(f"{path}: {error}") from error

    def _named(self) -> ClassNames:
        files = sorted(self.options.root.glob("*/xml/*.xml"))
        found: set[str] = set()
        for path in files:
            # one that cannot be read is reported together with its image
            with suppress(DataError):
                found |= set(renamed((entry.name for entry in read_objects(path)), self.options.rename))
        names = sorted(found)
        if not names:
            raise DataError(f"{self.options.root}: no annotation names a class; dataset.options.classes can name them")
        return ClassNames(names)
