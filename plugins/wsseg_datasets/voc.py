"""A PASCAL VOC devkit, or any data set in its layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from wsseg_cli.data.files import stems_in
from wsseg_cli.errors import DataError
from wsseg_cli.plugin.protocols import Dataset, PluginOptions
from wsseg_cli.types import ClassNames, Sample

from .lists import read_list
from .mask_labels import labels_shown
from .places import folder_of, refusals
from .sbd import merged_ids, sbd_folder, sbd_ids, sbd_masks
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

IMAGES, ANNOTATIONS, LISTS = "JPEGImages", "Annotations", "ImageSets/Segmentation"
_NAMED = 10  # bad annotations that a message names


class Voc(Dataset):
    """VOC devkit: photos, splits, labels from XML annotations or from masks; EXIF orientation is ignored."""

    paper = "Everingham et al., IJCV 2010, http://host.robots.ox.ac.uk/pascal/VOC/"

    class Options(PluginOptions):
        """Options of a VOC devkit; relative paths count from `root`."""

        root: Path = Field(description="the devkit: VOCdevkit, or the folder in it that holds JPEGImages")
        labels: Literal["xml", "masks"] = Field("xml", description="where image labels come from")
        difficult: Literal["keep", "drop"] = Field("keep", description="xml: objects marked difficult")
        masks: Path = Field(Path("SegmentationClass"), description="folder of mask PNGs")
        saliency: Path | None = Field(None, description="folder of saliency PNGs named like the photos")
        sbd: Path | None = Field(None, description="SBD's release, for the split train_aug and masks of its images")
        lists: dict[str, Path] = Field({}, description="list files of your own by split; they take precedence")
        classes: tuple[str, ...] = Field(CLASSES, min_length=1, description="class names in the order of mask values")

    def classes(self) -> ClassNames:
        """Return VOC's classes, or those that the options name."""
        return ClassNames(self.options.classes)

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the samples of split `split` in its order.

        A split of which no image has an annotation or a mask is one without labels, as VOC's `test` is.

        Raises:
            DataError: no such folder or split, or labels that are missing or wrong (all of the split at once).
        """
        root = self.root()
        ids = self._ids(root, split)
        masks = self._masks(root, ids)
        annotated = stems_in(root / ANNOTATIONS, ".xml")
        unlabelled = not masks and annotated.isdisjoint(ids)
        if unlabelled and not annotated and not stems_in(root / self.options.masks.expanduser(), ".png"):
            raise DataError(f"{root} has neither {ANNOTATIONS}/*.xml nor {self.options.masks}/*.png")
        labels = {} if unlabelled else self._labels(root, split, ids, masks)
        saliency = self._saliency(root)
        for image_id in ids:
            yield Sample(
                image_id=image_id,
                image=root / IMAGES / f"{image_id}.jpg",
                labels=labels.get(image_id, ()),
                mask=masks.get(image_id),
                extras={} if saliency is None else {"saliency": saliency / f"{image_id}.png"},
            )

    def missing(self, splits: Sequence[str]) -> list[str]:
        """Return what is not there of the devkit's folders and of the lists of these splits."""
        try:
            root = self.root()
        except DataError as error:
            return [str(error)]
        looks: list[Callable[[], object]] = [partial(self._ids, root, split) for split in splits]
        looks.append(partial(self._saliency, root))
        if self.options.sbd is not None:
            looks.append(partial(self._sbd, root))
        elif "masks" in self.options.model_fields_set or self.options.labels == "masks":
            looks.append(partial(folder_of, "masks", root / self.options.masks.expanduser()))
        return refusals(*looks)

    def root(self) -> Path:
        """Return the folder that holds JPEGImages: `root` itself, or the one below it that does.

        Raises:
            DataError: none, or several.
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
            return read_list(root / self.options.lists[split].expanduser())
        path = root / LISTS / f"{split}.txt"
        if split == "train_aug" and not path.is_file() and self.options.sbd is not None:
            return merged_ids(sbd_ids(self._sbd(root)), self._ids(root, "train"), self._ids(root, "val"))
        if not path.is_file():
            there = ", ".join(sorted(stems_in(root / LISTS, ".txt") | set(self.options.lists))) or "none"
            hint = "; no devkit ships train_aug: set the option `sbd`, or" if split == "train_aug" else ";"
            raise DataError(
                f"no split {split!r} in {root / LISTS}, there are: {there}{hint} give your own with "
                f"lists: {{{split}: FILE}}"
            )
        return read_list(path)

    def _masks(self, root: Path, ids: list[str]) -> dict[str, Path]:
        """Return the masks by image id: the devkit's, then SBD's for images that have none there."""
        folder = root / self.options.masks.expanduser()
        own = stems_in(folder, ".png")
        found = {image_id: folder / f"{image_id}.png" for image_id in ids if image_id in own}
        if self.options.sbd is None:
            return found
        rest = [image_id for image_id in ids if image_id not in own]
        return found | sbd_masks(self._sbd(root), rest, self.work / "sbd")

    def _sbd(self, root: Path) -> Path:
        return sbd_folder(root / self.options.sbd.expanduser())

    def _saliency(self, root: Path) -> Path | None:
        if self.options.saliency is None:
            return None
        folder = root / self.options.saliency.expanduser()
        if not folder.is_dir():
            raise DataError(f"no folder {folder} of saliency maps; set the data set's option `saliency`")
        return folder

    def _labels(self, root: Path, split: str, ids: list[str], masks: dict[str, Path]) -> dict[str, tuple[int, ...]]:
        labels: dict[str, tuple[int, ...]] = {}
        problems = []
        if self.options.labels == "masks":
            labels = labels_shown(masks, self.classes())
            problems = [f"{i!r} has no mask in {root / self.options.masks}" for i in ids if i not in masks]
        else:
            for image_id in ids:
                try:
                    labels[image_id] = self._in_xml(root / ANNOTATIONS / f"{image_id}.xml")
                except DataError as error:
                    problems.append(str(error))
        if problems:
            raise DataError(f"split {split!r}: labels of {len(problems)} images cannot be read\n  {_summary(problems)}")
        return labels

    def _in_xml(self, path: Path) -> tuple[int, ...]:
        objects = kept(read_objects(path), difficult=self.options.difficult == "keep")
        try:
            return labels_of(objects, self.classes())
        except DataError as error:
            raise DataError(f"{path}: {error}") from None


def _summary(problems: list[str]) -> str:
    more = [f"… and {len(problems) - _NAMED} more"] if len(problems) > _NAMED else []
    return "\n  ".join(problems[:_NAMED] + more)
