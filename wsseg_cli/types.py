"""The data that flows between stages: Sample, ScoreMap, ClassNames. No torch, no files, NumPy where it is used."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypeVar

from .errors import DataError, near

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

IGNORE = 255
"""Mask value of a pixel that belongs to no class: neither trained on nor evaluated."""

FloatArray: TypeAlias = "npt.NDArray[np.float32]"
IntArray: TypeAlias = "npt.NDArray[np.int64]"
ByteArray: TypeAlias = "npt.NDArray[np.uint8]"

Json = dict[str, Any]
"""A JSON object: a record of a run, the header of a model file, what a command prints with --json."""

_Label = TypeVar("_Label", int, "npt.NDArray[np.int64]")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set.

    Attributes:
        image_id: stem as in the data set; may contain "/" for nested folders.
        image: path of the image file.
        labels: foreground classes present, counted from 0, ascending; may be empty.
        mask: ground truth, values as in `ClassNames`; opened only by `prepare`, `eval` and fully supervised training.
        extras: what a method `needs` besides the image, such as {"saliency": path}.
        orientation: EXIF turn (1..8) applied when the pixels are read; 1 is as stored.
        labelled: False if it is not known what the image shows: `labels` is empty and means nothing. Otherwise empty
            labels say that it shows none of the classes.
    """

    image_id: str
    image: Path
    labels: tuple[int, ...]
    mask: Path | None = None
    extras: Mapping[str, Path] = field(default_factory=dict)
    orientation: int = 1
    labelled: bool = True


@dataclass(frozen=True)
class ScoreMap:
    """Per-pixel scores of one image for the classes it carries.

    Attributes:
        image_id: the image.
        classes: (K,) int64, foreground classes counted from 0, ascending.
        scores: (K, h, w) float32 in [0, 1].
        size: (H, W) of the image in pixels; h, w may be smaller.
        background: (h, w) float32 in [0, 1] if the method has a background score of its own.
        strided: (K, (H-1)//4+1, (W-1)//4+1) float32 in [0, 1], the same classes fused at a quarter of the size from the
            start, for refiners that start there; it is not `scores` resized. Stored only if a refiner asks for it.
    """

    image_id: str
    classes: IntArray
    scores: FloatArray
    size: tuple[int, int]
    background: FloatArray | None = None
    strided: FloatArray | None = None

    def full(
        self, background: float | None = None, *, power: float | None = None, rows: slice = slice(None)
    ) -> FloatArray:
        """Return the scores at image size with the background first, (1+K, H, W) float32.

        background: a constant background score; power: background = (1 - max over classes) ** power. With neither,
        the map's own background is used. rows: the rows of the image to return, all by default.

        Raises:
            DataError: neither is given and the map has no background of its own.
        """
        import numpy as np

        scores = resize_scores(self.scores, self.size, rows)
        height, width = scores.shape[1:]
        if background is not None:
            first = np.full((height, width), background, np.float32)
        elif power is not None:
            highest = scores.max(axis=0) if len(scores) else np.zeros((height, width), np.float32)
            first = np.power(1.0 - highest, np.float32(power), dtype=np.float32)
        elif self.background is not None:
            first = resize_scores(self.background[None], self.size, rows)[0]
        else:
            said = f"score map of {self.image_id!r} has no background of its own"
            raise DataError(f"{said}; set pseudo.background to {{threshold: …}} or {{power: …}}")
        return np.concatenate([first[None], scores]).astype(np.float32, copy=False)


def resize_scores(scores: FloatArray, size: tuple[int, int], rows: slice = slice(None)) -> FloatArray:
    """Return (K, h, w) scores resized to (K, H, W), bilinear with half-pixel centres and no antialiasing.

    The same numbers as torch's `interpolate(mode="bilinear", align_corners=False)`, without torch. rows: to return.
    """
    import numpy as np

    scores = np.asarray(scores, np.float32)
    if scores.shape[1:] == tuple(size):
        return scores[:, rows]
    if scores.shape[0] == 0:
        return np.zeros((0, *size), np.float32)[:, rows]
    low_y, high_y, part_y = _neighbours(scores.shape[1], size[0], rows)
    low_x, high_x, part_x = _neighbours(scores.shape[2], size[1])
    upright = scores[:, low_y] * (1 - part_y)[None, :, None] + scores[:, high_y] * part_y[None, :, None]
    return (upright[:, :, low_x] * (1 - part_x) + upright[:, :, high_x] * part_x).astype(np.float32, copy=False)


def _neighbours(source: int, target: int, wanted: slice = slice(None)) -> tuple[IntArray, IntArray, FloatArray]:
    import numpy as np

    centre = np.maximum((np.arange(target, dtype=np.float64) + 0.5) * (source / target) - 0.5, 0.0)[wanted]
    low = np.minimum(centre.astype(np.int64), source - 1)
    return low, np.minimum(low + 1, source - 1), (centre - low).astype(np.float32)


_NO_CLASS = frozenset({"background", "bg", "背景"})
_NO_CLASS_MARKED = _NO_CLASS | {"ignore", "ignored", "void", "unlabeled", "unlabelled"}


def means_no_class(name: str) -> bool:
    """Return whether a name means no class, as `background`, `_background_` and `__ignore__` do."""
    core = name.strip().strip("_- ").casefold()
    return core in (_NO_CLASS_MARKED if name.strip().startswith("_") else _NO_CLASS)


@dataclass(frozen=True)
class ClassNames(Sequence[str]):
    """Names of the foreground classes, and the one place where labels and mask values meet.

    A *label* counts foreground classes from 0. A *mask value* is 0 for background, label + 1 for a class, 255: ignore.
    """

    names: tuple[str, ...]

    def __init__(self, names: Iterable[str]) -> None:
        object.__setattr__(self, "names", tuple(str(name) for name in names))
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise DataError(f"class names occur twice: {', '.join(twice)}")
        if none := [name for name in self.names if means_no_class(name)]:
            raise DataError(
                f"{', '.join(map(repr, none))} cannot be a class: mask value 0 is background, 255 is ignored. Leave it "
                "out of `classes`, which begin with mask value 1; where it stands in the data itself, the option "
                f"`rename: {{{none[0]}: null}}` of the data set leaves it out"
            )
        if len(self.names) >= IGNORE:
            raise DataError(f"{len(self.names)} classes do not fit into a mask of one byte; at most {IGNORE - 1}")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: Any) -> Any:
        return self.names[index]

    @property
    def with_background(self) -> tuple[str, ...]:
        """Names in the order of mask values: "background", then the classes."""
        return ("background", *self.names)

    def label(self, name: str) -> int:
        """Return the label of the class called `name`.

        Raises:
            DataError: there is no such class.
        """
        if name not in self.names:
            raise DataError(f"unknown class {name!r}{near(name, self.names)}")
        return self.names.index(name)

    def labels(self, names: Iterable[str]) -> tuple[int, ...]:
        """Return the labels of the classes called `names`, ascending, each once; names that mean no class give none.

        Raises:
            DataError: there is no such class.
        """
        return tuple(sorted({self.label(name) for name in names if not means_no_class(name)}))

    @staticmethod
    def mask_value(label: _Label) -> _Label:
        """Return the mask value of a label, or those of an array of labels."""
        return label + 1

    def labels_in(self, mask: npt.NDArray[Any]) -> tuple[int, ...]:
        """Return the labels of the classes that a mask shows, ascending."""
        import numpy as np

        values = np.unique(mask)
        return tuple(int(v) - 1 for v in values if 0 < v <= len(self.names))


@dataclass(frozen=True)
class Progress:
    """The state of a training: `step` of `max_steps` steps are done; `epoch` counts from 0; `seed` is the recipe's."""

    step: int
    max_steps: int
    epoch: int
    seed: int = 0

    @property
    def fraction(self) -> float:
        """Share of the training that is done, in [0, 1]."""
        return self.step / self.max_steps


def _places(order: str) -> tuple[int, int, int]:
    return (2, 1, 0) if order == "BGR" else (0, 1, 2)


@dataclass(frozen=True)
class Normalization:
    """How a backbone expects its pixels: (pixel / scale - mean) / std, channels in `order`.

    Attributes:
        mean: per channel, in the network's channel order, after the division by `scale`.
        std: per channel, likewise.
        scale: 255 brings pixels into [0, 1]; 1 leaves 0..255.
        order: channel order of the network.
    """

    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    scale: float = 255.0
    order: Literal["RGB", "BGR"] = "RGB"

    def apply(self, image: npt.NDArray[Any]) -> FloatArray:
        """Return (H, W, 3) pixels 0..255 in RGB as the network's float32 input, still (H, W, 3), a view of 3 planes."""
        import numpy as np

        planes = np.empty((3, *image.shape[:-1]), np.float32)
        for plane, channel, mean, std in zip(planes, _places(self.order), self.mean, self.std, strict=True):
            np.divide(image[..., channel].astype(np.float32), np.float32(self.scale), out=plane)
            plane -= np.float32(mean)
            plane /= np.float32(std)
        return np.moveaxis(planes, 0, -1)

    def invert(self, images: Any) -> Any:
        """Return RGB pixels in 0..255 (float) of a normalised tensor or array (..., 3, H, W)."""
        import numpy as np

        channels = [(images[..., c, :, :] * self.std[c] + self.mean[c]) * self.scale for c in _places(self.order)]
        if isinstance(images, np.ndarray):
            return np.stack(channels, axis=-3)
        import torch

        return torch.stack(channels, dim=-3)


IMAGENET = Normalization()
"""Mean and standard deviation of ImageNet in RGB, pixels in [0, 1]."""

CAFFE = Normalization(mean=(104.008, 116.669, 122.675), std=(1.0, 1.0, 1.0), scale=1.0, order="BGR")
"""Pixels 0..255 in BGR minus the mean colour, as networks from Caffe expect them."""

TENSORFLOW = Normalization(mean=(127 / 255,) * 3, std=(128 / 255,) * 3)
"""Pixels in [-1, 1], as networks from TensorFlow were trained with."""

NORMALIZATIONS: dict[str, Normalization] = {"imagenet": IMAGENET, "caffe": CAFFE, "tensorflow": TENSORFLOW}
"""Normalizations by the name that the option `normalization` of a backbone takes."""


@dataclass(frozen=True)
class HubFile:
    """A file of pretrained weights that a hub holds for a backbone, which `weights: hub` fetches.

    Attributes:
        name: of the file, such as model.safetensors.
        repository: on the Hugging Face hub, such as timm/resnet50.a1_in1k; "" for a file with its own address.
        address: of that file; may be left out for one in a repository.
        saw: the data that the weights were trained on, for the protocol of every result.
        licence: of the weights, in words.
        mebibytes: its size, 0 if not known.
        sha256: its hash or the beginning of it, "" if not known.
    """

    name: str
    repository: str = ""
    address: str = ""
    saw: str = "ImageNet labels"
    licence: str = "none stated"
    mebibytes: float = 0
    sha256: str = ""

    @property
    def title(self) -> str:
        """The file and its origin, in words."""
        return f"{self.name} of {self.repository}" if self.repository else self.name
