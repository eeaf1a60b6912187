"""The toy scenes as a data set: drawn when asked for, one PNG each for image, mask and saliency. Nothing is shipped."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from PIL import Image, PngImagePlugin
from pydantic import Field

from wsseg_cli.data.files import write_atomically
from wsseg_cli.data.images import read_mask, read_saliency
from wsseg_cli.data.palette import palette_bytes
from wsseg_cli.data.threads import in_processes
from wsseg_cli.errors import DataError
from wsseg_cli.plugin.protocols import Dataset, DatasetOptions, Sources
from wsseg_cli.types import ClassNames, Json, Sample

from .scenes import CLASSES, DRAWING, SIZE, draw_scene

FIRST_OF_VAL = 10_000
"""Index of the first scene of `val`; so the number of training scenes does not change the others."""

WORTH_A_POOL = 24
"""Number of missing scenes from which worker processes save more than they cost."""

Side = Annotated[int, Field(ge=64, le=1024)]

_GROUND = "ground"  # text entry in a mask's PNG that names the kinds of ground in the scene


class ToyOptions(DatasetOptions):
    """Options of the toy scenes."""

    train: int = Field(240, ge=1, le=FIRST_OF_VAL, description="number of training scenes")
    val: int = Field(80, ge=1, le=FIRST_OF_VAL, description="number of validation scenes")
    seed: int = Field(0, ge=0, description="data seed; scene i is a function of (seed, i) alone")
    size: tuple[Side, Side] = Field(SIZE, description="width and height of a scene in pixels")
    workers: int | None = Field(None, ge=1, description="processes that draw; by default one per core, at most 8")


class Toy(Dataset[ToyOptions]):
    """Procedural scenes of six classes with the two traps of weak supervision: shared bodies and a context texture."""

    def classes(self) -> ClassNames:
        """Return the six classes."""
        return ClassNames(CLASSES)

    @property
    def folder(self) -> Path:
        """Return the folder for scenes with these options; scenes with other options are elsewhere."""
        width, height = self.options.size
        return self.work / f"toy-v{DRAWING}-{width}x{height}-seed{self.options.seed}"

    def samples(self, split: str) -> Iterator[Sample]:
        """Yield the scenes of "train" or "val" in order, after drawing those whose files are missing.

        Raises:
            DataError: it is another split, or the files cannot be written.
        """
        indices = self._indices(split)
        self._draw_missing(indices)
        classes = self.classes()
        for index in indices:
            image, mask, saliency = _files(self.folder, index)
            yield Sample(
                image_id=image.stem,
                image=image,
                labels=classes.labels_in(read_mask(mask)),
                mask=mask,
                extras={"saliency": saliency},
            )

    def sources(self, splits: Sequence[str]) -> Sources:
        """Return nothing: the scenes are drawn into the run."""
        return Sources()

    def facts(self) -> Json:
        """Return how wrong the saliency is and how often a train stands on rails, over the training scenes."""
        both = either = trains = on_rails = 0
        train = CLASSES.index("train") + 1
        indices = self._indices("train")
        self._draw_missing(indices)
        for index in indices:
            _, mask_file, saliency_file = _files(self.folder, index)
            mask, salient = read_mask(mask_file), read_saliency(saliency_file) > 127
            both += int(((mask > 0) & salient).sum())
            either += int(((mask > 0) | salient).sum())
            if (mask == train).any():
                trains += 1
                on_rails += "rails" in grounds_of(mask_file)
        return {
            "saliency foreground IoU": round(both / max(1, either), 3),
            "images of train with rails": round(on_rails / max(1, trains), 3),
        }

    def _indices(self, split: str) -> range:
        if split == "train":
            return range(self.options.train)
        if split == "val":
            return range(FIRST_OF_VAL, FIRST_OF_VAL + self.options.val)
        raise DataError(f"the toy scenes have no split {split!r}; there are train and val")

    def _draw_missing(self, indices: range) -> None:
        missing = [index for index in indices if not all(file.exists() for file in _files(self.folder, index))]
        if not missing:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        draw = partial(write_scene, self.folder, self.options.seed, self.options.size)
        workers = self.options.workers or min(8, os.cpu_count() or 1)
        in_processes(draw, missing, workers, worth=WORTH_A_POOL)


def write_scene(folder: Path, seed: int, size: tuple[int, int], index: int) -> None:
    """Draw scene `index` and write its three files, the mask last."""
    scene = draw_scene(seed, index, size)
    image, mask, saliency = _files(folder, index)
    text = PngImagePlugin.PngInfo()
    text.add_text(_GROUND, " ".join(scene.ground))
    palette_mask = Image.fromarray(scene.mask)
    palette_mask.putpalette(palette_bytes(len(CLASSES)))
    _save(image, Image.fromarray(scene.image))
    _save(saliency, Image.fromarray(scene.saliency))
    _save(mask, palette_mask, pnginfo=text)


def grounds_of(mask: Path) -> tuple[str, ...]:
    """Return the kinds of ground of a scene, from the text in its mask's PNG."""
    with Image.open(mask) as picture:
        return tuple(str(picture.info.get(_GROUND, "")).split())


def _files(folder: Path, index: int) -> tuple[Path, Path, Path]:
    name = f"scene_{index:05d}.png"
    return folder / "images" / name, folder / "masks" / name, folder / "saliency" / name


def _save(path: Path, picture: Image.Image, **options: Any) -> None:
    write_atomically(path, lambda temporary: picture.save(temporary, format="PNG", **options))
