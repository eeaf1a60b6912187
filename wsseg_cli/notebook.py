"""A finished run in Python, for notebooks: its images, score maps, masks, pictures and networks. Nothing is written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from .data.images import read_image
from .data.index import read_index
from .data.overlays import mask_overlay, score_overlay
from .data.stores import MaskStore, ScoreStore, checked_mask
from .errors import RecipeError, StageError
from .recipe.sections import Recipe
from .status import open_existing
from .types import ByteArray, ClassNames, Sample

if TYPE_CHECKING:
    from torch import nn

MAPS = ("cam", "refine")
"""Stages that write score maps."""
MASKS = ("pseudo", "seg", "truth")
"""Masks of an image: the pseudo-mask, what `eval` saw the segmentation network predict, the data set's own."""
NETWORKS = {"train-cls": "train-cls", "refine": "refine/train", "train-seg": "train-seg"}
"""Stages that train, and the folder of their network."""


class Run:
    """One run directory. Torch is imported when a network is asked for, not before."""

    def __init__(self, path: str | Path) -> None:
        """Open the run in directory `path`.

        Raises:
            RecipeError: the directory is not a run. StageError: nothing has been prepared in it yet.
        """
        self.path = Path(path)
        if not (self.path / "recipe.yaml").is_file():
            raise RecipeError(
                f"{self.path} is not a run: it has no recipe.yaml; `wsseg run --recipe quickstart` makes one"
            )
        self._run = open_existing(self.path)
        self._index = read_index(self.path / "prepare")

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run was made with."""
        return self._run.recipe.recipe

    @property
    def classes(self) -> ClassNames:
        """Names of the foreground classes; mask value 1 is the first."""
        return self._index.classes

    def samples(self, *splits: str) -> list[Sample]:
        """Return the images of these splits, such as "val", or all images.

        Raises:
            StageError: a split was not prepared.
        """
        return self._index.samples(*(splits or self._index.splits()))

    def image(self, image_id: str) -> ByteArray:
        """Return the photo as (H, W, 3) uint8 RGB."""
        sample = self._sample(image_id)
        return read_image(sample.image, sample.orientation)

    def scores(self, stage: str = "cam") -> ScoreStore:
        """Return the score maps of `cam` or `refine`, a mapping from image id to ScoreMap that reads on demand.

        Raises:
            StageError: the stage writes no score maps, or has not run.
        """
        if stage not in MAPS:
            raise StageError(f"no score maps of {stage!r}; there are those of {', '.join(MAPS)}")
        self._need(self.path / stage, stage)
        return ScoreStore(self.path / stage)

    def mask(self, image_id: str, kind: str = "pseudo") -> ByteArray:
        """Return the "pseudo", "seg" (predicted) or "truth" mask as (H, W) uint8: 0 background, 1 to C, 255 ignore.

        Raises:
            StageError: there is no such kind, or this image has no such mask.
        """
        if kind not in MASKS:
            raise StageError(f"no kind of mask {kind!r}; there are {', '.join(MASKS)}")
        sample = self._sample(image_id)
        if kind == "truth":
            if sample.mask is None:
                raise StageError(f"image {image_id!r} has no mask in its data set")
            return checked_mask(sample.mask, self.classes)
        if kind == "pseudo":
            return MaskStore(self.path / "pseudo").read(image_id, self.classes)
        stores = [MaskStore(self.path / "eval" / f"seg-{name}") for name in self._index.entries[image_id].splits]
        there = [store for store in stores if store.path(image_id).is_file()]
        if not there:
            raise StageError(f"no prediction for image {image_id!r} in {self.path}; run `wsseg eval` first")
        return there[0].read(image_id, self.classes)

    def picture(self, image_id: str, kind: str = "photo") -> Image.Image:
        """Return the "photo", or a map ("cam", "refine") or mask ("pseudo", "seg", "truth") over it.

        Raises:
            StageError: there is no such kind, or the stage has not run.
        """
        photo = self.image(image_id)
        if kind == "photo":
            return Image.fromarray(photo)
        if kind in MAPS:
            return Image.fromarray(score_overlay(photo, self.scores(kind)[image_id]))
        if kind in MASKS:
            return Image.fromarray(mask_overlay(photo, self.mask(image_id, kind)))
        raise StageError(f"no picture {kind!r}; there are photo, {', '.join((*MAPS, *MASKS))}")

    def model(self, stage: str = "train-seg") -> tuple[Any, nn.Module]:
        """Return the plugin and the trained network of "train-cls", "refine" or "train-seg", ready for inference.

        A method makes score maps, `method.scores(network, image, labels, infer)`; a segmenter makes class scores,
        `segmenter.logits(network, image, infer)`.

        Raises:
            StageError: the stage trains nothing, or has not finished. CheckpointError: the file does not fit the
                network.
        """
        if stage not in NETWORKS:
            raise StageError(f"no network of {stage!r}; there are those of {', '.join(NETWORKS)}")
        file = self.path / NETWORKS[stage] / "model.safetensors"
        self._need(file, stage)
        from .engine import processes
        from .stages import Context, plugins

        context = Context(self._run, self._run.recipe)
        plugin: Any
        if stage == "refine":
            plugin = plugins.refiner_of(context, self.classes)
        else:
            plugin = (plugins.method_of if stage == "train-cls" else plugins.segmenter_of)(context, self.classes)
        return plugin, plugins.trained(plugin, file, str(processes.start(self.recipe.runtime.device)))

    def _sample(self, image_id: str) -> Sample:
        if image_id not in self._index.entries:
            raise StageError(f"no image {image_id!r} in {self.path}; `samples()` lists those that were prepared")
        return self._index.entries[image_id].sample

    def _need(self, path: Path, stage: str) -> None:
        if not path.exists():
            raise StageError(f"{path} is missing; run `wsseg {stage}` first")
