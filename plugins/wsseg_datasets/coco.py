"""MS COCO 2014 and 2017, and whatever comes with annotations in its instances format; masks are rendered once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from wsseg_cli.data.files import file_stem, stems_in, write_atomically
from wsseg_cli.data.stores import write_mask
from wsseg_cli.data.threads import in_threads
from wsseg_cli.errors import DataError
from wsseg_cli.plugin.protocols import Dataset, PluginOptions
from wsseg_cli.types import ClassNames, Sample

from .coco_instances import Instances, Picture, read_instances
from .coco_masks import class_mask
from .places import below, existing, folder_of, refusals

_NAMED = 10  # bad entries that a message names


class COCO(Dataset):
    """Objects of an instances JSON as image labels and as masks; categories numbered by ascending id."""

    paper = "Lin et al., ECCV 2014, https://arxiv.org/abs/1405.0312"

    class Options(PluginOptions):
        """Options of COCO."""

        root: Path = Field(description="folder with annotations/ and the photos")
        year: Literal[2014, 2017] = Field(2014, description="split `train` is train2014 or train2017")
        annotations: dict[str, Path] = Field({}, description="split: instances JSON, where it lies elsewhere")
        images: dict[str, Path] = Field({}, description="split: folder of its photos, where it lies elsewhere")
        masks: Path | None = Field(None, description="folder of ready masks (EPS's release) in place of rendered ones")
        render: bool = Field(True, description="render masks; false leaves images without, as for training alone")
        overlap: Literal["last", "first", "smallest"] = Field(
            "last", description="which object keeps a pixel that several claim: by order in the file, or by size"
        )
        crowd: Literal["paint", "ignore", "skip"] = Field(
            "paint", description="crowd regions: as objects, 255, left out"
        )
        unlabelled: Literal["drop", "keep"] = Field(
            "drop", description="images without an object, as the published splits have it"
        )
        saliency: Path | None = Field(None, description="folder of saliency maps, one PNG an image")
        workers: int | None = Field(None, ge=1, description="threads that render; by default one a core")

    def __init__(self, options: PluginOptions, work: Path) -> None:
        super().__init__(options, work)
        self._read: dict[str, Instances] = {}
        self._dropped: dict[str, int] = {}

    def classes(self) -> ClassNames:
        """Return the category names by ascending id: 80 in COCO.

        Raises:
            DataError: no annotations, or splits with other categories.
        """
        found = {split: self._instances(split).categories for split in self._splits()}
        first, *others = found.items()
        for split, categories in others:
            if categories != first[1]:
                raise DataError(f"{self._file(split)}: other categories than {self._file(first[0])}")
        return ClassNames(name for _, name in first[1])

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the images of a split in the order of its file, after rendering the masks that are missing.

        Labels are those of the objects that are painted.

        Raises:
            DataError: no such split, a broken file, or annotations that cannot be rendered (all are named).
        """
        instances = self._instances(split)
        pictures = [p for p in instances.pictures if self._labels(p) or self.options.unlabelled == "keep"]
        self._dropped[split] = len(instances.pictures) - len(pictures)
        if self.options.render and self.options.masks is None:
            self._render(split, instances.digest, pictures)
        photos, masks = self._photos(split), self._mask_folder(split)
        saliency = self.options.saliency
        # polygons of a whole COCO split take gigabytes: nothing needs them any more
        self._read[split] = Instances(instances.categories, [], instances.digest)
        for picture in pictures:
            yield Sample(
                image_id=picture.image_id,
                image=below(photos, picture.file_name, str(self._file(split))),
                labels=self._labels(picture),
                mask=None if masks is None else masks / f"{self._mask_stem(picture.image_id)}.png",
                extras={} if saliency is None else {"saliency": _beside(saliency, self._stem(split), picture.image_id)},
            )

    def facts(self) -> dict[str, Any]:
        """Return where the masks come from, and how many images without an object were left out."""
        options = self.options
        rule = f"rendered, overlap: {options.overlap}, crowd: {options.crowd}" if options.render else "none"
        dropped = {f"without an object, left out of {split}": n for split, n in self._dropped.items() if n}
        return {"masks": rule if options.masks is None else str(options.masks), **dropped}

    def missing(self, splits: Sequence[str]) -> list[str]:
        """Return what is not there of the annotations and folders that these splits need."""
        o = self.options
        looks: list[Callable[[], object]] = [partial(folder_of, "root", o.root)]
        if o.root.is_dir():
            looks += [partial(self._annotated, split) for split in splits]
            looks += [partial(self._photos, split) for split in splits]
        looks += [partial(folder_of, name, path) for name in ("masks", "saliency") if (path := getattr(o, name))]
        return refusals(*looks)

    def _annotated(self, split: str) -> None:
        if not self._file(split).is_file():
            raise DataError(f"{self._file(split)}: no such file; dataset.options.annotations says where it lies")

    def _splits(self) -> list[str]:
        there = [split for split in ("train", "val") if self._file(split).is_file()]
        splits = list(dict.fromkeys([*self.options.annotations, *there, *self._read]))
        if not splits:
            raise DataError(f"{self._file('train')}: no such file; dataset.options.annotations says where it lies")
        return splits

    def _stem(self, split: str) -> str:
        year = str(self.options.year)
        return split if split.endswith(year) else split + year

    def _file(self, split: str) -> Path:
        named = self.options.annotations.get(split)
        return named or self.options.root / "annotations" / f"instances_{self._stem(split)}.json"

    def _photos(self, split: str) -> Path:
        stem = self._stem(split)
        return self.options.images.get(split) or existing(
            self.options.root, [f"images/{stem}", stem, f"images/{split}", split], f"folder of the photos of {split}"
        )

    def _instances(self, split: str) -> Instances:
        if split not in self._read or (not self._read[split].pictures and split in self._dropped):
            self._read[split] = read_instances(self._file(split))
        return self._read[split]

    def _labels(self, picture: Picture) -> tuple[int, ...]:
        crowds = self.options.crowd == "paint"
        return tuple(sorted({value - 1 for value, _, crowd in picture.objects if crowds or not crowd}))

    def _mask_folder(self, split: str) -> Path | None:
        if self.options.masks is not None:
            nested = self.options.masks / self._stem(split)
            return nested if nested.is_dir() else self.options.masks
        return self._rendered(split) if self.options.render else None

    def _mask_stem(self, image_id: str) -> str:
        return image_id if self.options.masks is not None else file_stem(image_id)

    def _rendered(self, split: str) -> Path:
        return self.work / "coco-masks" / file_stem(split)

    def _render(self, split: str, digest: str, pictures: list[Picture]) -> None:
        """Write the masks that are missing; a folder rendered under other rules is emptied first."""
        folder = self._rendered(split)
        rules = {"annotations": digest, "overlap": self.options.overlap, "crowd": self.options.crowd}
        note = folder / "rules.json"
        if not note.is_file() or note.read_text(encoding="utf-8") != json.dumps(rules):
            shutil.rmtree(folder, ignore_errors=True)
            write_atomically(note, lambda path: path.write_text(json.dumps(rules), encoding="utf-8"))
        there = stems_in(folder, ".png")
        missing = [picture for picture in pictures if file_stem(picture.image_id) not in there]

        def render(picture: Picture) -> str | None:
            try:
                mask = class_mask(picture.objects, picture.size, self.options.overlap, self.options.crowd)
            except DataError as error:
                return f"image {picture.image_id}: {error}"
            write_mask(folder / f"{file_stem(picture.image_id)}.png", mask)
            return None

        failures = [failure for failure in in_threads(render, missing, self.options.workers) if failure]
        if failures:
            more = f"\n  … and {len(failures) - _NAMED} more" if len(failures) > _NAMED else ""
            lines = "".join(f"\n  {failure}" for failure in failures[:_NAMED])
            raise DataError(f"{self._file(split)}: {len(failures)} images cannot be rendered:{lines}{more}")


def _beside(folder: Path, stem: str, image_id: str) -> Path:
    nested = folder / stem
    return (nested if nested.is_dir() else folder) / f"{image_id}.png"
