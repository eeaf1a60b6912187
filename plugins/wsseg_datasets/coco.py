"""MS COCO 2014 and 2017, and any data with annotations in its instances format; masks are rendered once."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from wsseg_cli.data.files import file_stem, stems_in
from wsseg_cli.data.stores import write_mask
from wsseg_cli.data.threads import in_threads
from wsseg_cli.disk.reading import MEGABYTE, read_text
from wsseg_cli.disk.writing import remove, write_text
from wsseg_cli.errors import DataError
from wsseg_cli.plugin.protocols import Dataset, DatasetOptions, Sources
from wsseg_cli.types import ClassNames, Json, Sample

from .coco_instances import Instances, Picture, read_instances
from .coco_render import mask_of, photo_of, size_when
from .names import rename_option
from .places import below, existing, folder_of, refusals
from .turns import Rule, decide, header, orientation_option


class COCOOptions(DatasetOptions):
    """Options of COCO."""

    root: Path = Field(description="folder with annotations/ and the photos")
    year: Literal[2014, 2017] = Field(2014, description="split `train` is train2014 or train2017")
    annotations: dict[str, Path] = Field({}, description="split: instances JSON, if it is elsewhere")
    images: dict[str, Path] = Field({}, description="split: folder of its photos, if it is elsewhere")
    masks: Path | None = Field(None, description="folder of ready masks (EPS's release) in place of rendered ones")
    render: bool = Field(True, description="render masks; false: images have none, as for training alone")
    overlap: Literal["last", "first", "smallest"] = Field(
        "last", description="which object gets a pixel that several claim: by order in the file, or by size"
    )
    crowd: Literal["paint", "ignore", "skip"] = Field("paint", description="crowd regions: as objects, 255, left out")
    unlabelled: Literal["keep", "drop"] = Field(
        "keep", description="images without an object; drop leaves them out of the splits, as published"
    )
    rename: dict[str, str | None] = rename_option()
    orientation: Rule = orientation_option()
    saliency: Path | None = Field(None, description="folder of saliency maps, one PNG per image")
    workers: int | None = Field(None, ge=1, description="threads that render; by default one per core")


class COCO(Dataset[COCOOptions]):
    """Objects of an instances JSON as image labels and as masks; categories numbered by ascending id."""

    paper = "Lin et al., ECCV 2014, https://arxiv.org/abs/1405.0312"

    def __init__(self, options: COCOOptions, work: Path) -> None:
        super().__init__(options, work)
        self._read: dict[str, Instances] = {}
        self._dropped: dict[str, int] = {}
        self._said: dict[str, str] = {}
        self._without_mask: dict[str, int] = {}

    def classes(self) -> ClassNames:
        """Return the category names by ascending id: 80 in COCO.

        Raises:
            DataError: there are no annotations, or the splits differ in categories.
        """
        found = {split: self._instances(split).names for split in self._splits()}
        first, *others = found.items()
        for split, names in others:
            if names != first[1]:
                raise DataError(f"{self._file(split)}: other categories than {self._file(first[0])}")
        return ClassNames(first[1])

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the images of a split in the order of its file, after rendering the masks that are missing.

        Labels are those of all objects, except crowds that are left out.

        Raises:
            DataError: there is no such split, or a file is broken.
        """
        instances = self._instances(split)
        pictures = [p for p in instances.pictures if self._labels(p) or self.options.unlabelled == "keep"]
        self._dropped[split] = len(instances.pictures) - len(pictures)
        photos, saliency = self._photos(split), self.options.saliency
        places = [below(photos, picture.file_name, str(self._file(split))) for picture in pictures]
        headers = list(in_threads(header, places, self.options.workers))
        known = [photo_of(picture, found) for picture, found in zip(pictures, headers, strict=True)]
        turns = decide(known, self.options.orientation, "ignore")
        self._said[split] = turns.said
        if self.options.render and self.options.masks is None:
            sizes = [size_when(*parts) for parts in zip(pictures, headers, turns.applied, strict=True)]
            self._render(split, instances.digest, [replace(p, size=s) for p, s in zip(pictures, sizes, strict=True)])
        masks = self._masks(split, pictures)
        # polygons of a whole COCO split take gigabytes: nothing needs them from here on
        self._read[split] = Instances(instances.names, [], instances.digest)
        for picture, photo, turn in zip(pictures, places, turns.applied, strict=True):
            yield Sample(
                image_id=picture.image_id,
                image=photo,
                labels=self._labels(picture),
                mask=masks.get(picture.image_id),
                extras={} if saliency is None else {"saliency": _beside(saliency, self._stem(split), picture.image_id)},
                orientation=turn,
            )

    def facts(self) -> Json:
        """Return where the masks come from, how many images have none, and how many without an object were left out."""
        options = self.options
        rule = f"rendered, overlap: {options.overlap}, crowd: {options.crowd}" if options.render else "none"
        dropped = {f"without an object, left out of {split}": n for split, n in self._dropped.items() if n}
        unknown = {
            f"without a mask in {split}": f"{count}, since objects of theirs have no segmentation"
            for split, count in self._without_mask.items()
            if count
        }
        turned = {f"EXIF orientation in {split}": said for split, said in self._said.items() if said}
        return {"masks": rule if options.masks is None else str(options.masks), **dropped, **unknown, **turned}

    def missing(self, splits: Sequence[str]) -> list[str]:
        """Return which annotations and folders that these splits need are missing."""
        o = self.options
        looks: list[Callable[[], object]] = [partial(folder_of, "root", o.root)]
        if o.root.is_dir():
            looks += [partial(self._annotated, split) for split in splits]
            looks += [partial(self._photos, split) for split in splits]
        looks += [partial(folder_of, name, path) for name in ("masks", "saliency") if (path := getattr(o, name))]
        return refusals(*looks)

    def sources(self, splits: Sequence[str]) -> Sources:
        """Return the annotations of these splits and of those whose categories are compared with theirs."""
        files = [self._file(split) for split in dict.fromkeys([*splits, *self._splits()])]
        return Sources(tables=tuple(file for file in files if file.is_file()))

    def _annotated(self, split: str) -> None:
        if not self._file(split).is_file():
            raise DataError(f"{self._file(split)}: no such file; set dataset.options.annotations to where it is")

    def _splits(self) -> list[str]:
        there = [split for split in ("train", "val") if self._file(split).is_file()]
        splits = list(dict.fromkeys([*self.options.annotations, *there, *self._read]))
        if not splits:
            raise DataError(f"{self._file('train')}: no such file; set dataset.options.annotations to where it is")
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
            self._read[split] = read_instances(self._file(split), self.options.rename, self.leave_out)
        return self._read[split]

    def _labels(self, picture: Picture) -> tuple[int, ...]:
        crowds = self.options.crowd == "paint"
        return tuple(sorted({painted.value - 1 for painted in picture.objects if crowds or not painted.crowd}))

    def _masks(self, split: str, pictures: list[Picture]) -> dict[str, Path]:
        """Return the masks by image id: the given ones, whether or not they exist, or those that could be rendered."""
        ready = self.options.masks
        if ready is not None:
            nested = ready / self._stem(split)
            folder = nested if nested.is_dir() else ready
            return {picture.image_id: folder / f"{picture.image_id}.png" for picture in pictures}
        if not self.options.render:
            return {}
        folder = self._rendered(split)
        there = stems_in(folder, ".png")
        found = {
            p.image_id: folder / f"{file_stem(p.image_id)}.png" for p in pictures if file_stem(p.image_id) in there
        }
        self._without_mask[split] = len(pictures) - len(found)
        return found

    def _rendered(self, split: str) -> Path:
        return self.work / "coco-masks" / file_stem(split)

    def _render(self, split: str, digest: str, pictures: list[Picture]) -> None:
        """Write the missing masks; a folder rendered under other rules is emptied first."""
        folder = self._rendered(split)
        # sizes follow from the orientations that are applied
        sizes = hashlib.sha256(repr([picture.size for picture in pictures]).encode()).hexdigest()
        rules = {
            "annotations": digest,
            "overlap": self.options.overlap,
            "crowd": self.options.crowd,
            "sizes": sizes,
            "rename": dict(sorted(self.options.rename.items())),
        }
        note = folder / "rules.json"
        if _said_in(note) != json.dumps(rules):
            remove(folder)
            write_text(note, json.dumps(rules))
        there = stems_in(folder, ".png")
        missing = [picture for picture in pictures if file_stem(picture.image_id) not in there]

        def render(picture: Picture) -> dict[str, str]:
            try:
                mask, problems = mask_of(picture.objects, picture.size, self.options.overlap, self.options.crowd)
            except DataError as error:
                return {f"image {picture.image_id}": f"image {picture.image_id}: {error}"}
            if mask is not None:
                write_mask(folder / f"{file_stem(picture.image_id)}.png", mask)
            return {
                f"image {picture.image_id}, {name}": f"image {picture.image_id}, {name}: {problem}"
                for name, problem in problems.items()
            }

        problems = [*in_threads(render, missing, self.options.workers)]
        for found in problems:
            for entry, problem in found.items():
                self.leave_out(entry, f"{self._file(split)}: {problem}; `render: false` asks for labels alone")


def _said_in(note: Path) -> str | None:
    """Return what a note of ours says; None if it does not exist or is not text."""
    try:
        return read_text(note, MEGABYTE)
    except (OSError, UnicodeDecodeError):
        return None


def _beside(folder: Path, stem: str, image_id: str) -> Path:
    nested = folder / stem
    return (nested if nested.is_dir() else folder) / f"{image_id}.png"
