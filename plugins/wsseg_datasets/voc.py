"""A PASCAL VOC devkit, or any data set in its layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from wsseg_cli.data.files import stems_in
from wsseg_cli.data.label_table import PHOTO_SUFFIXES, without_suffix
from wsseg_cli.errors import DataError
from wsseg_cli.plugin.protocols import Dataset, DatasetOptions, Sources
from wsseg_cli.types import ClassNames, Json, Sample

from .cls_labels import agreement
from .lists import read_list
from .mask_files import MaskFiles, files_in, mask_name_option
from .mask_labels import labels_shown
from .names import rename_option
from .places import file_of, refusals
from .sbd import merged_ids, sbd_folder, sbd_ids, sbd_masks
from .turns import Rule, orientation_option, orientations
from .voc_xml import kept, labels_of, read_objects

CLASSES = (
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""VOC's classes in the order of their mask values."""

TRAIN_AUG = 10_582
"""Images of the split that is commonly trained on: SBD's and VOC's train without VOC's val."""

IMAGES, ANNOTATIONS, LISTS = "JPEGImages", "Annotations", "ImageSets/Segmentation"


class VocOptions(DatasetOptions):
    """Options of a VOC devkit; relative paths are relative to `root`."""

    root: Path = Field(description="the devkit: VOCdevkit, or the folder in it that holds JPEGImages")
    labels: Literal["xml", "masks"] = Field("xml", description="where image labels come from")
    difficult: Literal["keep", "drop"] = Field("keep", description="xml: objects marked difficult")
    masks: Path | tuple[Path, ...] = Field(
        Path("SegmentationClass"),
        description="folder of mask PNGs, or several: the first that has an image's counts",
    )
    saliency: Path | None = Field(None, description="folder of saliency PNGs named like the photos")
    sbd: Path | None = Field(None, description="SBD's release, for the split train_aug and masks of its images")
    cls_labels: Path | None = Field(
        None, description="labels of other repositories (cls_labels.npy), which prepare compares with these"
    )
    lists: dict[str, Path] = Field({}, description="list files of your own by split; they take precedence")
    classes: tuple[str, ...] = Field(CLASSES, min_length=1, description="class names in the order of mask values")
    rename: dict[str, str | None] = rename_option()
    mask_name: str = mask_name_option()
    orientation: Rule = orientation_option()

    @property
    def mask_folders(self) -> tuple[Path, ...]:
        """The folders of `masks`, relative to `root`."""
        given = self.masks if isinstance(self.masks, tuple) else (self.masks,)
        return tuple(folder.expanduser() for folder in given)


class Voc(Dataset[VocOptions]):
    """VOC devkit: photos, splits, labels from XML annotations or from masks.

    EXIF orientation is ignored, as VOC's tools do, unless masks have the size of the turned photo.
    """

    paper = "Everingham et al., IJCV 2010, http://host.robots.ox.ac.uk/pascal/VOC/"

    def __init__(self, options: VocOptions, work: Path) -> None:
        super().__init__(options, work)
        self._said: dict[str, str] = {}
        self._found: dict[str, dict[str, tuple[int, ...]]] = {}

    def classes(self) -> ClassNames:
        """Return VOC's classes, or those that the options name."""
        return ClassNames(self.options.classes)

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the samples of split `split` in its order.

        A split in which no image has an annotation or a mask has no labels, such as VOC's `test`.

        Raises:
            DataError: there is no such folder or split.
        """
        root = self.root()
        ids = self._there(root, split)
        masks = self._masks(root, ids)
        annotated = {without_suffix(name, (".xml",)) for name in files_in(root / ANNOTATIONS, (".xml",))}
        unlabelled = not masks and annotated.isdisjoint(ids)
        if unlabelled and not annotated and not any(folder.files for folder in self._mask_files(root)):
            raise DataError(f"{root} has neither {ANNOTATIONS}/*.xml nor {self._mask_names()}/*.png")
        labels = dict.fromkeys(ids, ()) if unlabelled else self._labels(root, ids, masks)
        self._found[split] = {image_id: shown for image_id, shown in labels.items() if image_id in self._photos}
        saliency = self._saliency(root)
        photos = {image_id: root / IMAGES / self._photo(image_id) for image_id in labels}
        maps = {i: None if saliency is None else saliency / f"{i}.png" for i in labels}
        files = [(photos[i], masks.get(i) or maps[i]) for i in labels]
        turns = orientations(files, self.options.orientation, "ignore")
        self._said[split] = turns.said
        for image_id, orientation in zip(labels, turns.applied, strict=True):
            lying = maps[image_id]
            yield Sample(
                image_id=image_id,
                image=photos[image_id],
                labels=labels[image_id],
                mask=masks.get(image_id),
                extras={} if lying is None else {"saliency": lying},
                orientation=orientation,
                labelled=not unlabelled,
            )

    def facts(self) -> Json:
        """Return what was done about EXIF orientation, split by split, and how the data compare with the published."""
        facts = {f"EXIF orientation in {split}": said for split, said in self._said.items() if said}
        if "train_aug" in self._found and self.options.classes == CLASSES:
            facts["images of train_aug"] = f"{len(self._found['train_aug'])} found, {TRAIN_AUG} expected"
        if self.options.cls_labels is not None:
            labels = {image_id: shown for found in self._found.values() for image_id, shown in found.items()}
            path = self.root() / self.options.cls_labels.expanduser()
            facts[f"labels equal {path.name}"] = agreement(path, labels, len(self.classes()))
        return facts

    def missing(self, splits: Sequence[str]) -> list[str]:
        """Return which of the devkit's folders and of the lists of these splits are missing."""
        try:
            root = self.root()
        except DataError as error:
            return [str(error)]
        looks: list[Callable[[], object]] = [partial(self._ids, root, split) for split in splits]
        looks.append(partial(self._saliency, root))
        if self.options.sbd is not None:
            looks.append(partial(self._sbd, root))
        elif "masks" in self.options.model_fields_set or self.options.labels == "masks":
            looks.append(partial(self._any_masks, root))
        if self.options.cls_labels is not None:
            looks.append(partial(file_of, "cls_labels", root / self.options.cls_labels.expanduser()))
        return refusals(*looks)

    def sources(self, splits: Sequence[str]) -> Sources:
        """Return the lists of these splits, the annotation and photo of each image, and the folders of masks."""
        root = self.root()
        tables = [path for split in splits for path in self._list_files(root, split)]
        if self.options.cls_labels is not None:
            tables.append(root / self.options.cls_labels.expanduser())
        ids = list(dict.fromkeys(image_id for split in splits for image_id in self._ids(root, split)))
        files = [root / IMAGES / self._photo(image_id) for image_id in ids]
        if self.options.labels == "xml":
            files += [root / ANNOTATIONS / f"{image_id}.xml" for image_id in ids]
        if (sbd := self._sbd(root)) is not None:
            files += [sbd / "cls" / f"{image_id}.mat" for image_id in ids]
        folders = (root / folder for folder in self.options.mask_folders)
        return Sources(tuple(tables), tuple(files), tuple(folder for folder in folders if folder.is_dir()))

    def _list_files(self, root: Path, split: str) -> list[Path]:
        """Return the list files that a split is read from, whether or not they exist."""
        if split in self.options.lists:
            return [root / self.options.lists[split].expanduser()]
        path = root / LISTS / f"{split}.txt"
        if split == "train_aug" and not path.is_file() and (sbd := self._sbd(root)) is not None:
            own = [file for name in ("train", "val") for file in self._list_files(root, name)]
            return [path, sbd / "train.txt", sbd / "val.txt", *own]
        return [path]

    def root(self) -> Path:
        """Return the folder that holds JPEGImages: `root` itself, or the one below it that does.

        Raises:
            DataError: there is no such folder, or there are several.
        """
        given = self.options.root.expanduser()
        if not given.is_dir():
            raise DataError(f"VOC devkit: no folder {given}; set the data set's option `root`")
        if (given / IMAGES).is_dir():
            return given
        found = [*given.glob(f"*/{IMAGES}"), *given.glob(f"VOCdevkit/*/{IMAGES}")]
        below = sorted({folder.parent for folder in found})
        if len(below) == 1:
            return below[0]
        if below:
            names = ", ".join(str(folder.relative_to(given)) for folder in below)
            raise DataError(f"{given} holds several devkits: {names}; name one in the option `root`")
        raise DataError(f"{given} holds no folder {IMAGES}; expected VOCdevkit, or VOC2012 inside it")

    def _ids(self, root: Path, split: str) -> list[str]:
        if split in self.options.lists:
            return self._read(root / self.options.lists[split].expanduser())
        path = root / LISTS / f"{split}.txt"
        if split == "train_aug" and not path.is_file() and (sbd := self._sbd(root)) is not None:
            return merged_ids(sbd_ids(sbd), self._ids(root, "train"), self._ids(root, "val"))
        if not path.is_file():
            there = ", ".join(sorted(stems_in(root / LISTS, ".txt") | set(self.options.lists))) or "none"
            hint = "; no devkit ships train_aug: set the option `sbd`, or" if split == "train_aug" else ";"
            raise DataError(
                f"no split {split!r} in {root / LISTS}, there are: {there}{hint} give your own with "
                f"lists: {{{split}: FILE}}"
            )
        return self._read(path)

    def _there(self, root: Path, split: str) -> list[str]:
        """Return the ids of a split whose photos exist; the others are left out."""
        ids = self._ids(root, split)
        for image_id in ids:
            if image_id not in self._photos:
                self.leave_out(image_id, f"split {split!r} names {image_id!r}, and {root / IMAGES} has no such photo")
        return [image_id for image_id in ids if image_id in self._photos]

    def _read(self, path: Path) -> list[str]:
        return read_list(path, known=self._photos.__contains__, refuse=self.leave_out)

    @cached_property
    def _photos(self) -> dict[str, str]:
        """The photos by id, as paths below JPEGImages; if an id has several, the .jpg counts."""
        names = files_in(self.root() / IMAGES, PHOTO_SUFFIXES)
        return {without_suffix(name): name for name in sorted(names, key=lambda name: name.endswith(".jpg"))}

    def _photo(self, image_id: str) -> str:
        return self._photos.get(image_id, f"{image_id}.jpg")

    def _mask_files(self, root: Path) -> list[MaskFiles]:
        return [MaskFiles(root / folder, self.options.mask_name) for folder in self.options.mask_folders]

    def _mask_names(self) -> str:
        return " or ".join(map(str, self.options.mask_folders))

    def _any_masks(self, root: Path) -> None:
        if not any((root / folder).is_dir() for folder in self.options.mask_folders):
            raise DataError(f"no folder {root}/{self._mask_names()}; set the data set's option `masks`")

    def _masks(self, root: Path, ids: list[str]) -> dict[str, Path]:
        """Return the masks by image id: the devkit's, then SBD's for images without one."""
        found: dict[str, Path] = {}
        for files in self._mask_files(root):
            named = {i: files.of(i, self._photo(i)) for i in ids if i not in found}
            found |= {image_id: path for image_id, path in named.items() if path is not None}
        sbd = self._sbd(root)
        if sbd is None:
            return found
        rest = [image_id for image_id in ids if image_id not in found]
        return found | sbd_masks(sbd, rest, self.work / "sbd")

    def _sbd(self, root: Path) -> Path | None:
        return None if self.options.sbd is None else sbd_folder(root / self.options.sbd.expanduser())

    def _saliency(self, root: Path) -> Path | None:
        if self.options.saliency is None:
            return None
        folder = root / self.options.saliency.expanduser()
        if not folder.is_dir():
            raise DataError(f"no folder {folder} of saliency maps; set the data set's option `saliency`")
        return folder

    def _labels(self, root: Path, ids: list[str], masks: dict[str, Path]) -> dict[str, tuple[int, ...]]:
        """Return the labels by image id, for images whose labels can be read; the others are left out."""
        if self.options.labels == "masks":
            for image_id in ids:
                if image_id not in masks:
                    self.leave_out(image_id, f"{image_id!r} has no mask in {root}/{self._mask_names()}")
            return labels_shown(masks, self.classes())
        labels = {}
        for image_id in ids:
            path = root / ANNOTATIONS / f"{image_id}.xml"
            try:
                labels[image_id] = self._in_xml(path)
            except DataError as error:
                self.leave_out(image_id, str(error))
        return labels

    def _in_xml(self, path: Path) -> tuple[int, ...]:
        objects = kept(read_objects(path), difficult=self.options.difficult == "keep")
        try:
            return labels_of(objects, self.classes(), self.options.rename)
        except DataError as error:
            raise DataError(f"{path}: {error}") from None
